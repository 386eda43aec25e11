//! The values that labels of metrics can have.

/// How a client is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Events,
}

impl Transport {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "events",
        }
    }
}
