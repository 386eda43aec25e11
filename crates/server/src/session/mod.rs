//! What a client receives, over WebSockets and event streams alike: subscriptions, and how they resume.
//!
//! - `subscriptions`: what one client is subscribed to, and its requests for more.
//! - `resume`: whether a client can continue after its last message, and from where.
//! - `replay`: what a client missed, from the log.

mod replay;
mod resume;
mod subscriptions;

pub use replay::{Replay, ReplayError, ReplayItem};
pub use resume::{ResumeFailure, Resumed, resume};
pub use subscriptions::{
    MAX_CHANNELS, SubscribeRequest, SubscribeResult, SubscriptionEvent, Subscriptions,
};
