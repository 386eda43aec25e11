//! `POST /messages`: publishes a message, and answers once the broker has confirmed it.

use crate::http::error::ApiError;
use crate::http::guarded_stream::{REQUEST_TIMEOUT, RequestPacing};
use crate::http::origin;
use crate::worker::Worker;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use opentelemetry::trace::SpanContext;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::rc::Rc;
use tokio::time::timeout;
use warren_broker::PublishRequest;
use warren_observe::events::{Event, TraceField};
use warren_observe::labels::PublishTransport;
use warren_observe::traces::Span;
use warren_protocol::body::{largest_body, size_of_text};
use warren_protocol::message::{Channel, Key};
use warren_protocol::trace_context;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    channel: Option<String>,
    text: Box<RawValue>,
    key: Option<String>,
}

pub async fn publish(
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let (mut span, context) = worker.state.tracer.request(trace_context_of(request.headers()));
    let trace_id = TraceField::of(context.as_ref());
    let result = accept(&request, payload, &worker, context, &mut span).await;
    // The publisher reports its own errors.
    if let Err(error) = &result
        && !matches!(error, ApiError::Publish(_))
    {
        worker
            .state
            .reporter
            .emit(Event::MessageRejected { cause: error.message_rejection(), trace_id });
    }
    if let Some(span) = &mut span {
        record_result(span, &result);
    }
    result
}

/// Records the result of a request.
fn record_result(span: &mut Span, result: &Result<HttpResponse, ApiError>) {
    let status = match result {
        Ok(response) => response.status(),
        Err(error) => error.status_code(),
    };
    span.set("http.response.status_code", i64::from(status.as_u16()));
    // An error of the client is not a failure of this replica.
    if let Err(error) = result
        && status.is_server_error()
    {
        span.fail(error.code());
    }
}

/// The trace context of a request. More than one parent is invalid; the state may come in several lines.
fn trace_context_of(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(trace_context::TRACEPARENT);
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let state: Result<Vec<_>, _> =
        headers.get_all(trace_context::TRACESTATE).map(HeaderValue::to_str).collect();
    trace_context::parse(parent.to_str().ok()?, state.ok().map(|state| state.join(",")).as_deref())
}

async fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    worker: &Rc<Worker>,
    trace: Option<SpanContext>,
    span: &mut Option<Span>,
) -> Result<HttpResponse, ApiError> {
    let state = &worker.state;
    origin::check(&state.config.allowed_origins, request.headers())?;
    let limit = state.config.max_message.0;
    let pacing = RequestPacing::of(request);
    pacing.iter().for_each(|pacing| pacing.begin_body());
    let body = timeout(REQUEST_TIMEOUT, payload.to_bytes_limited(largest_body(limit))).await;
    pacing.iter().for_each(|pacing| pacing.end_body());
    let body = match body {
        Err(_) => return Err(ApiError::TimedOut),
        Ok(Err(_)) => return Err(ApiError::TooLarge),
        Ok(Ok(Err(error))) => return Err(ApiError::BadRequest(error.to_string())),
        Ok(Ok(Ok(body))) => body,
    };
    let Body { channel, text, key } = serde_json::from_slice(&body).map_err(|error| {
        ApiError::BadRequest(format!(
            "invalid body; expected {{\"channel\",\"text\",\"key\"}}: {error}"
        ))
    })?;
    if size_of_text(&text) > limit {
        return Err(ApiError::TooLarge);
    }
    let channel = channel
        .map_or_else(|| Ok(Channel::default()), |name| Channel::new(&name))
        .map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let key = key.map(|key| Key::new(&key)).transpose();
    let key = key.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let ack = state.publisher.submit(PublishRequest { channel, text, key, trace })?;
    state.reporter.received(PublishTransport::Http);
    let id = ack.await?;
    if let (Some(span), Some(id)) = (span, &id) {
        span.set("warren.message.id", id.clone());
    }
    Ok(HttpResponse::Accepted().json(json!({ "id": id.as_deref() })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderName;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(lines: &[(&'static str, &'static str)]) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        trace_context_of(&headers)
    }

    #[test]
    fn one_traceparent_is_read_and_tracestate_lines_are_joined() {
        let lines = [("tracestate", "a=1"), ("traceparent", PARENT), ("tracestate", "b=2,c=3")];
        assert_eq!(trace_context::tracestate(&read(&lines).unwrap()).unwrap(), "a=1,b=2,c=3");
        assert_eq!(trace_context::tracestate(&read(&[("traceparent", PARENT)]).unwrap()), None);
        assert!(read(&[("traceparent", PARENT), ("traceparent", PARENT)]).is_none());
        assert!(read(&[("tracestate", "a=1")]).is_none());
    }
}
