//! The HTTP client of the exporter. It records what the exporter does not report: why an attempt failed,
//! how many spans the collector refused, and when it accepts the next export.

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::error::Error;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Maximum size of a response that is read.
const MAX_RESPONSE: usize = 64 << 10;
/// Maximum time that a collector can delay the next export.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Result of an attempt to export.
#[derive(Debug, Default)]
pub(super) struct ExportReport {
    /// Description of the failure; empty after a success.
    pub(super) problem: String,
    /// Spans that the collector refused while it accepted the others.
    pub(super) refused: u64,
    /// Time until the collector accepts the next export.
    pub(super) delay: Option<Duration>,
}

/// Sends requests, and keeps the report of the last one.
#[derive(Clone, Debug)]
pub(super) struct ExportClient {
    client: reqwest::Client,
    last: Arc<Mutex<ExportReport>>,
}

impl HttpClient for ExportClient {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let usual_path = request.uri().path().ends_with(super::settings::PATH);
            let response = self.send(request).await;
            self.replace_report(match &response {
                Ok(response) => ExportReport::of(response, usual_path),
                Err(error) => {
                    ExportReport { problem: root_cause(error), ..ExportReport::default() }
                }
            });
            Ok(response?)
        })
    }
}

impl ExportClient {
    pub(super) fn new(client: reqwest::Client) -> Self {
        Self { client, last: Arc::default() }
    }

    /// Takes the report of the last attempt.
    pub(super) fn take_report(&self) -> ExportReport {
        self.replace_report(ExportReport::default())
    }

    fn replace_report(&self, report: ExportReport) -> ExportReport {
        mem::replace(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner), report)
    }

    async fn send(&self, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
        let mut answer = self.client.execute(request.try_into()?).await?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = mem::take(answer.headers_mut());
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_RESPONSE => {
                    body.extend_from_slice(&chunk);
                }
                Ok(None) => break,
                // The status is enough: spans that were accepted must not be sent again.
                Ok(Some(_)) | Err(_) => {
                    body.clear();
                    break;
                }
            }
        }
        *response.body_mut() = body.into();
        Ok(response)
    }
}

impl ExportReport {
    /// Reads a response. `usual_path`: the path of the address is the usual one of collectors.
    fn of(response: &Response<Bytes>, usual_path: bool) -> Self {
        let status = response.status();
        if status.is_success() {
            return Self::of_success(response.body());
        }
        let hint = if status.as_u16() == 404 && !usual_path {
            "; is /v1/traces missing from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?"
        } else {
            ""
        };
        let delay = if matches!(status.as_u16(), 429 | 503) { retry_after(response) } else { None };
        Self { problem: format!("the collector answers {status}{hint}"), refused: 0, delay }
    }

    fn of_success(body: &Bytes) -> Self {
        let answer = ExportTraceServiceResponse::decode(body.as_ref()).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        match u64::try_from(partial.rejected_spans) {
            Err(_) | Ok(0) => Self::default(),
            Ok(refused) => {
                let problem = format!("the collector refuses some: {}", partial.error_message);
                Self { problem, refused, delay: None }
            }
        }
    }
}

/// The seconds in `Retry-After`. A date is ignored.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_DELAY))
}

/// The innermost cause, without the address, which may contain a secret.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = match error.source() {
        Some(source) => source,
        None if error.is_timeout() => return "no answer in time".to_owned(),
        None => return "the request cannot be made".to_owned(),
    };
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    fn response(status: u16, retry_after: &str, body: impl Into<Bytes>) -> Response<Bytes> {
        let response = Response::builder().status(status).header("retry-after", retry_after);
        response.body(body.into()).unwrap()
    }

    #[test]
    fn retry_after_is_honored_up_to_a_limit() {
        let delay = |status, after| ExportReport::of(&response(status, after, ""), true).delay;
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            [delay(429, "7"), delay(503, " 7 "), delay(429, "99999")],
            [seconds(7), seconds(7), seconds(60)]
        );
        for (status, after) in [(200, "7"), (500, "7"), (429, "-1"), (503, "soon")] {
            assert_eq!(delay(status, after), None, "{status} {after}");
        }
    }

    #[test]
    fn refused_spans_of_a_success_are_reported() {
        let success = |rejected_spans| {
            let partial_success = Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "too old".to_owned(),
            });
            let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            ExportReport::of(&response(200, "", body), true)
        };
        let some = success(3);
        assert_eq!(
            (some.refused, some.problem.as_str()),
            (3, "the collector refuses some: too old")
        );
        for all in [success(0), success(-1), ExportReport::of(&response(200, "", "{}"), true)] {
            assert_eq!((all.refused, all.problem.as_str()), (0, ""));
        }
    }

    #[test]
    fn not_found_suggests_a_missing_path() {
        let problem = |usual_path| ExportReport::of(&response(404, "", ""), usual_path).problem;
        assert_eq!(problem(true), "the collector answers 404 Not Found");
        assert!(
            problem(false)
                .ends_with("; is /v1/traces missing from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?")
        );
    }
}
