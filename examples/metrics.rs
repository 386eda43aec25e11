//! Writes docs/metrics.md to standard output: `make docs`.

fn main() {
    print!("{}", warren_observe::docs::metrics());
}
