//! The endpoints that answer a request and are done with it.

pub mod history;
pub mod page;
pub mod publish;
pub mod replicas;
