//! Subscriptions of clients, over WebSockets and event streams alike, and how they resume.
//!
//! - `subscriptions`: the channels of one client, and its requests for more.
//! - `resume`: decides whether a client can continue after its last message, and from where.
//! - `replay`: reads missed messages from the log.

mod replay;
mod resume;
mod subscriptions;

pub use replay::{Replay, ReplayError, ReplayItem};
pub use resume::{ResumeFailure, Resumed, resume};
pub use subscriptions::{
    MAX_CHANNELS, SubscribeRequest, SubscribeResult, SubscriptionEvent, Subscriptions,
};
