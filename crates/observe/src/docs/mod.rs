//! The documents of the catalogues, which `make docs` writes.

mod logs;
mod metrics;

pub use logs::markdown as logs;
pub use metrics::markdown as metrics;
