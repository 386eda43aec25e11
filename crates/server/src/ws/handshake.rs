//! `GET /ws`: the handshake of a WebSocket.

use crate::connections::ConnectionPermit;
use crate::http::error::ApiError;
use crate::http::origin;
use crate::http::query::{self, Query};
use crate::session::SubscribeRequest;
use crate::worker::Worker;
use actix_web::http::header::{
    CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use std::rc::Rc;
use warren_observe::events::Event;
use warren_observe::phase::Phase;
use warren_protocol::commands::V1;
use warren_protocol::websocket::{Window, negotiate};

/// Marks a request whose socket can be taken from actix. A request without it came by a way that
/// actix-http does not treat as an upgrade.
#[derive(Debug)]
pub struct UpgradeMarker;

/// The meaning of a client's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// None: each text is published.
    Plain,
    /// `warren.v1`: each text is a command.
    V1,
}

/// A handshake that was accepted: everything that its session begins with.
#[derive(Debug)]
pub struct AcceptedUpgrade {
    pub request: SubscribeRequest,
    pub subprotocol: Subprotocol,
    /// Deflate window that was agreed on.
    pub window: Window,
    pub permit: ConnectionPermit,
}

/// Answers a handshake. The response of an accepted one carries an [`AcceptedUpgrade`].
pub async fn handshake(
    request: HttpRequest,
    payload: web::Payload,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let result = accept(&request, payload, query, &worker);
    if let Err(error) = &result {
        worker.state.reporter.emit(Event::HandshakeRefused { cause: error.handshake_refusal() });
    }
    result
}

fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    query: Query,
    worker: &Rc<Worker>,
) -> Result<HttpResponse, ApiError> {
    let state = &worker.state;
    origin::check(&state.config.allowed_origins, request.headers())?;
    let subscribe = query::subscribe_request(query, |_, _| Ok(()))?;
    // The stream and the session of actix-ws are not used: the socket is taken from actix.
    let (mut response, ..) = actix_ws::handle_with_protocols(request, payload, &[V1])
        .map_err(|error| ApiError::NoWebSocket(error.to_string()))?;
    // A body that a proxy passed on must not be read as frames.
    let length = request.headers().get(CONTENT_LENGTH);
    if length.is_some_and(|length| length.as_bytes() != b"0") {
        return Err(ApiError::NoWebSocket("a handshake has no body".to_owned()));
    }
    if request.extensions().get::<UpgradeMarker>().is_none() {
        return Err(ApiError::NoWebSocket("Upgrade must be exactly 'websocket'".to_owned()));
    }
    if *state.phase.borrow() >= Phase::Draining {
        return Err(ApiError::ShuttingDown);
    }
    let mut permit = state.connections.acquire_socket().ok_or(ApiError::TooManyConnections)?;
    let (subprotocol, subscribe) = if response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
        (Subprotocol::V1, subscribe)
    } else {
        (Subprotocol::Plain, subscribe.or_default_channel())
    };
    let mut window = Window::NONE;
    if state.config.compression.0.is_some()
        && let Some(agreed) = negotiate(extensions(request))
        && let Ok(answer) = HeaderValue::try_from(agreed.answer)
    {
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, answer);
        permit.count_deflate_client();
        window = agreed.window;
    }
    let accepted = AcceptedUpgrade { request: subscribe, subprotocol, window, permit };
    response.extensions_mut().insert(accepted);
    Ok(response)
}

/// The extensions that a client offers. Values that are not text are skipped.
fn extensions(request: &HttpRequest) -> impl Iterator<Item = &str> {
    request.headers().get_all(SEC_WEBSOCKET_EXTENSIONS).filter_map(|value| value.to_str().ok())
}
