//! `GET /ws`: who may connect, and to what.

use super::commands::V1;
use crate::connections::ConnectionPermit;
use crate::http::error::ApiError;
use crate::http::origin;
use crate::http::query::{self, Query};
use crate::session::subscriptions::SubscribeRequest;
use crate::worker::Worker;
use actix_web::http::header::{
    CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use std::rc::Rc;
use warren_observe::events::Event;
use warren_observe::phase::Phase;
use warren_protocol::websocket::{Window, negotiate};

/// Marks a request whose socket can be taken.
#[derive(Debug)]
pub struct UpgradeMarker;

/// A client that was let in, on its way from the handshake to its connection.
#[derive(Debug)]
pub struct AcceptedUpgrade {
    pub wish: SubscribeRequest,
    /// Whether it speaks `warren.v1`.
    pub v1: bool,
    /// What it can inflate.
    pub window: Window,
    pub permit: ConnectionPermit,
}

/// Lets a client in, or says why not.
pub async fn handshake(
    request: HttpRequest,
    payload: web::Payload,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let result = admit(&request, payload, query, &worker);
    if let Err(error) = &result {
        worker.state.reporter.emit(Event::HandshakeRefused { cause: error.handshake_refusal() });
    }
    result
}

fn admit(
    request: &HttpRequest,
    payload: web::Payload,
    query: Query,
    worker: &Rc<Worker>,
) -> Result<HttpResponse, ApiError> {
    let state = &worker.state;
    origin::check(&state.config.allowed_origins, request.headers())?;
    let wish = query::wish(query, |_, _| Ok(()))?;
    // The stream and session of actix-ws are not used: the socket itself will be ours.
    let (mut response, ..) = actix_ws::handle_with_protocols(request, payload, &[V1])
        .map_err(|error| ApiError::NoWebSocket(error.to_string()))?;
    // What a proxy passes on as a body is not to be read as frames.
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
    let mut permit = state.connections.acquire().ok_or(ApiError::TooManyConnections)?;
    let v1 = response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    let wish = if v1 { wish } else { wish.or_lobby() };
    let mut window = Window::NONE;
    if state.config.compression.0.is_some()
        && let Some(agreed) = negotiate(extensions(request))
        && let Ok(answer) = HeaderValue::try_from(agreed.answer)
    {
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, answer);
        permit.take_compressed();
        window = agreed.window;
    }
    response.extensions_mut().insert(AcceptedUpgrade { wish, v1, window, permit });
    Ok(response)
}

/// What a client offers; a value that is no text offers nothing.
fn extensions(request: &HttpRequest) -> impl Iterator<Item = &str> {
    request.headers().get_all(SEC_WEBSOCKET_EXTENSIONS).filter_map(|value| value.to_str().ok())
}
