//! Writes docs/configuration.md to standard output: `make docs`.

fn main() {
    print!("{}", warren_config::markdown());
}
