//! The one table of close codes: code, reason, metric label, and what a client should do next.

/// Reconnect policy for a client that was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// The client closed the connection: no reconnect.
    No,
    /// The client broke the protocol and would be closed again: reconnect after long delays.
    Slowly,
    /// Reconnect with growing, jittered delays.
    Backoff,
    /// Reconnect after the delay in the reason: `…; retry in <n>ms`.
    AfterHint,
}

/// Reason for which the server closes a WebSocket. Each has one row in [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client sent a close frame; its code is echoed.
    ByClient,
    ProtocolError,
    BinaryData,
    InvalidUtf8,
    BadDeflate,
    TooBig,
    Restart,
    TooSlow,
    NoPong,
    LogUnreadable,
    ReplayExpired,
}

/// One row of [`TABLE`].
#[derive(Debug)]
pub struct CloseRow {
    pub close: CloseReason,
    /// RFC 6455 status code.
    pub code: u16,
    /// Text after the code in the close frame, at most 123 bytes.
    pub reason: &'static str,
    /// Value of the metric label `reason`.
    pub label: &'static str,
    pub reconnect: Reconnect,
}

macro_rules! rows {
    ($($close:ident $code:literal $label:literal $reconnect:ident $reason:literal),* $(,)?) => {
        /// Every close reason, in the order of [`CloseReason`].
        pub const TABLE: &[CloseRow] = &[$(CloseRow {
            close: CloseReason::$close,
            code: $code,
            reason: $reason,
            label: $label,
            reconnect: Reconnect::$reconnect,
        }),*];

        /// Values of the metric labels `code` and `reason`. The last is of a connection that ended
        /// without a close frame, for which RFC 6455 has a code that is never sent.
        pub const LABELS: &[(&str, &str)] =
            &[$((stringify!($code), $label),)* ("1006", GONE)];
    };
}

/// Metric label of a connection that ended without a close frame.
pub const GONE: &str = "gone";

rows! {
    ByClient      1000 "by_client"      No        "",
    ProtocolError 1002 "protocol_error" Slowly    "protocol error",
    BinaryData    1003 "binary_data"    Slowly    "only text messages are served",
    InvalidUtf8   1007 "invalid_utf8"   Slowly    "text is not valid UTF-8",
    BadDeflate    1007 "bad_deflate"    Slowly    "compressed data is not valid",
    TooBig        1009 "too_big"        Slowly    "message is larger than WARREN_MAX_MESSAGE",
    Restart       1012 "restart"        AfterHint "restart",
    TooSlow       1013 "too_slow"       Backoff   "too slow: more than WARREN_CLIENT_BACKLOG unread",
    NoPong        1013 "no_pong"        Backoff   "no answer to pings",
    LogUnreadable 1013 "log_unreadable" Backoff   "the log cannot be read now",
    ReplayExpired 1013 "replay_expired" Backoff   "what was to follow is no longer kept",
}

impl CloseReason {
    /// Row of this reason in [`TABLE`].
    pub fn row(self) -> &'static CloseRow {
        &TABLE[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_table_matches_the_enum_and_fits_a_frame() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.close as usize, place);
            assert!(row.reason.len() <= 123 - "; retry in 4294967295ms".len());
        }
    }
}
