//! Writes docs/logs.md to standard output: `make docs`.

fn main() {
    print!("{}", warren_observe::docs::logs());
}
