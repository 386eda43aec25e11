//! Messages between replicas: the canary that each sends, which is also the roster's news.

use crate::Peer;
use lapin::BasicProperties;
use serde::{Deserialize, Serialize};

/// Property `type` of a replica's canary. Everything that begins like it is for replicas only.
pub(crate) const REPLICA: &str = "warren.replica";
/// Property `type` of a message for clients.
pub(crate) const MESSAGE: &str = "warren.message";
/// Header of a message that was published before, but not confirmed in time to know.
pub(crate) const REPEATED: &str = "warren-repeated";
/// Header with the key that the sender gave a message.
pub(crate) const KEY: &str = "warren-key";
const PREFIX: &str = "warren.";

/// A canary's body.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Canary {
    #[serde(flatten)]
    pub(crate) peer: Peer,
    /// Tells two processes of one name apart.
    pub(crate) instance: u64,
    pub(crate) sequence: u64,
    /// Its sender will send no more.
    #[serde(default)]
    pub(crate) leaving: bool,
}

/// For whom a message is, by its property `type`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ForClients,
    Canary,
    /// For replicas, but of a version that this one does not know.
    UnknownControl,
}

/// Whether another program than a replica published a message.
pub(crate) fn is_foreign(properties: &BasicProperties) -> bool {
    !properties.kind().as_ref().is_some_and(|kind| kind.as_str().starts_with(PREFIX))
}

impl Kind {
    pub(crate) fn of(properties: &BasicProperties) -> Self {
        match properties.kind().as_ref().map(|kind| kind.as_str()) {
            Some(REPLICA) => Self::Canary,
            Some(kind) if kind.starts_with(PREFIX) && kind != MESSAGE => Self::UnknownControl,
            _ => Self::ForClients,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_marked_as_control_is_kept_from_clients() {
        let kind = |kind: &str| Kind::of(&BasicProperties::default().with_type(kind.into()));
        assert_eq!(kind("warren.replica"), Kind::Canary);
        assert_eq!(kind("warren.tomorrow"), Kind::UnknownControl);
        assert_eq!(kind("warren.message"), Kind::ForClients);
        assert_eq!(kind("order.created"), Kind::ForClients);
        assert_eq!(Kind::of(&BasicProperties::default()), Kind::ForClients);
    }
}
