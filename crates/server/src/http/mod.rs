//! HTTP requests before they reach an endpoint: guards of sockets and bodies, origins, queries, errors.

pub mod error;
pub mod guarded_body;
pub mod guarded_stream;
pub mod held_payload;
pub mod origin;
pub mod query;
