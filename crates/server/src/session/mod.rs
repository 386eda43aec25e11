//! What a client receives, for WebSockets and event streams alike: its subscriptions, and how it resumes.

pub mod resume;
pub mod subscriptions;
