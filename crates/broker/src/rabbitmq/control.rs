//! AMQP types and headers of replicas' messages, and the control message: the canary, which also updates
//! the roster.

use crate::roster::Peer;
use lapin::BasicProperties;
use serde::{Deserialize, Serialize};

/// Property `type` of a canary. Types with the same prefix are for replicas only, apart from [`MESSAGE`].
pub(crate) const REPLICA: &str = "warren.replica";
/// Property `type` of a message for clients.
pub(crate) const MESSAGE: &str = "warren.message";
/// Header of a message that was published before on a connection that was lost before the confirm.
pub(crate) const REPEATED: &str = "warren-repeated";
/// Header with the publisher's key.
pub(crate) const KEY: &str = "warren-key";
const PREFIX: &str = "warren.";

/// Body of a canary.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CanaryMessage {
    #[serde(flatten)]
    pub(crate) peer: Peer,
    /// Distinguishes processes with the same name.
    pub(crate) instance: u64,
    pub(crate) sequence: u64,
    /// True in the last canary of a replica that stops.
    #[serde(default)]
    pub(crate) leaving: bool,
}

/// Class of a message on the exchange, by its property `type`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MessageType {
    ForClients,
    Canary,
    /// A control message of a version that this one does not know.
    UnknownControl,
}

impl MessageType {
    pub(crate) fn of(properties: &BasicProperties) -> Self {
        match properties.kind().as_ref().map(|kind| kind.as_str()) {
            Some(REPLICA) => Self::Canary,
            Some(kind) if kind.starts_with(PREFIX) && kind != MESSAGE => Self::UnknownControl,
            _ => Self::ForClients,
        }
    }
}

/// True for a message that another program than a replica published.
pub(crate) fn is_foreign(properties: &BasicProperties) -> bool {
    !properties.kind().as_ref().is_some_and(|kind| kind.as_str().starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_types_are_kept_from_clients() {
        let of = |kind: &str| MessageType::of(&BasicProperties::default().with_type(kind.into()));
        assert_eq!(of("warren.replica"), MessageType::Canary);
        assert_eq!(of("warren.tomorrow"), MessageType::UnknownControl);
        assert_eq!(of("warren.message"), MessageType::ForClients);
        assert_eq!(of("order.created"), MessageType::ForClients);
        assert_eq!(MessageType::of(&BasicProperties::default()), MessageType::ForClients);
    }
}
