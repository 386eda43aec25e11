//! Errors of HTTP requests, in the form that clients receive: `{"error":{"code","message"}}`.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, UPGRADE};
use actix_web::{HttpResponse, ResponseError, Route, web};
use serde_json::json;
use warren_broker::LogError;
use warren_observe::labels::{HandshakeRefusal, MessageRejection};
use warren_protocol::error::PublishError;

/// Longest error message in bytes. It may quote the request, and waits in memory for the client.
const MAX_MESSAGE: usize = 256;

/// An error message, cut to its longest length.
pub fn truncated(message: &str) -> &str {
    let is_boundary = |end: &usize| message.is_char_boundary(*end);
    let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(is_boundary);
    &message[..end.unwrap_or(0)]
}

/// The reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("this origin is not allowed to connect; see WARREN_ALLOWED_ORIGINS")]
    Origin,
    #[error("no such address")]
    NotFound,
    #[error("method not allowed; use {0}")]
    Method(&'static str),
    #[error("the request body did not arrive in time")]
    TimedOut,
    #[error("the message is larger than WARREN_MAX_MESSAGE")]
    TooLarge,
    #[error("this address takes WebSocket handshakes only: {0}")]
    NoWebSocket(String),
    #[error("this replica has reached its limit of connections; try again later")]
    TooManyConnections,
    #[error("this replica is shutting down")]
    ShuttingDown,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl ApiError {
    /// The error code in the response.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Origin => "origin_not_allowed",
            Self::NotFound => "not_found",
            Self::Method(_) => "method_not_allowed",
            Self::TimedOut => "timed_out",
            Self::TooLarge => "too_large",
            Self::NoWebSocket(_) => "no_websocket",
            Self::TooManyConnections => "too_many_connections",
            Self::ShuttingDown => "shutting_down",
            Self::Log(_) => "log_unreadable",
            Self::Publish(error) => error.code(),
        }
    }

    /// The cause by which a refused handshake is counted.
    pub fn handshake_refusal(&self) -> HandshakeRefusal {
        match self {
            Self::Origin => HandshakeRefusal::OriginNotAllowed,
            Self::NoWebSocket(_) => HandshakeRefusal::NoWebSocket,
            Self::TooManyConnections => HandshakeRefusal::TooManyConnections,
            Self::ShuttingDown => HandshakeRefusal::ShuttingDown,
            // No handshake fails with an error other than a bad request.
            Self::BadRequest(_)
            | Self::NotFound
            | Self::Method(_)
            | Self::TimedOut
            | Self::TooLarge
            | Self::Log(_)
            | Self::Publish(_) => HandshakeRefusal::BadRequest,
        }
    }

    /// The cause by which a message that is not accepted is counted.
    pub fn message_rejection(&self) -> MessageRejection {
        match self {
            Self::Origin => MessageRejection::OriginNotAllowed,
            Self::TimedOut => MessageRejection::TimedOut,
            Self::TooLarge => MessageRejection::TooLarge,
            Self::ShuttingDown => MessageRejection::ShuttingDown,
            // No message is rejected with an error other than a bad request.
            Self::BadRequest(_)
            | Self::NotFound
            | Self::Method(_)
            | Self::NoWebSocket(_)
            | Self::TooManyConnections
            | Self::Log(_)
            | Self::Publish(_) => MessageRejection::BadRequest,
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoWebSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyConnections | Self::ShuttingDown | Self::Log(_) | Self::Publish(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.status_code() == StatusCode::SERVICE_UNAVAILABLE {
            // Seconds. Spread, so that clients refused together do not return together.
            response.insert_header((RETRY_AFTER, fastrand::u32(1..=5).to_string()));
        }
        match self {
            Self::NoWebSocket(_) => drop(response.insert_header((UPGRADE, "websocket"))),
            Self::Method(allowed) => drop(response.insert_header((ALLOW, *allowed))),
            // The rest of the request may still come, and must not be taken for another request.
            Self::TimedOut | Self::TooLarge => drop(response.force_close()),
            _ => {}
        }
        let message = self.to_string();
        response.json(json!({ "error": { "code": self.code(), "message": truncated(&message) } }))
    }
}

/// A route that refuses every method but these.
pub fn only(methods: &'static str) -> Route {
    web::to(move || async move { Err::<&str, _>(ApiError::Method(methods)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_labels_are_error_codes() {
        let bad = ApiError::BadRequest(String::new());
        for error in [&ApiError::Origin, &ApiError::ShuttingDown, &bad] {
            assert_eq!(error.handshake_refusal().value(), error.code());
            assert_eq!(error.message_rejection().value(), error.code());
        }
        for error in [ApiError::NoWebSocket(String::new()), ApiError::TooManyConnections] {
            assert_eq!(error.handshake_refusal().value(), error.code());
        }
        for error in [ApiError::TimedOut, ApiError::TooLarge] {
            assert_eq!(error.message_rejection().value(), error.code());
        }
    }

    #[test]
    fn long_error_messages_are_truncated() {
        assert_eq!(truncated("short"), "short");
        assert_eq!(truncated(&"語".repeat(1000)), "語".repeat(85));
    }
}
