//! The HTTP client that Warren's own programs use.

pub mod http;
