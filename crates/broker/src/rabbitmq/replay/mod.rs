//! Replays: reading the log again, page by page, for clients that resume.

pub(crate) mod consumers;
mod page_reader;
mod pool;
