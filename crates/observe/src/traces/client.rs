//! The HTTP client of the exporter, which keeps what the exporter does not say: why an attempt failed,
//! what the collector took only in part, and when it wants the next.

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::error::Error;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of a collector's answer that are looked at.
const LARGEST_ANSWER: usize = 64 << 10;
/// The longest that a collector can have exports wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What became of an attempt to export.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What went wrong; empty if all is well.
    pub(super) problem: String,
    /// Spans that were refused, while the others were taken.
    pub(super) refused: u64,
    /// How long there is to be no further one.
    pub(super) wait: Option<Duration>,
}

/// Makes attempts, and keeps the report of the last one.
#[derive(Clone, Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    last: Arc<Mutex<Report>>,
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let whole_path = request.uri().path().ends_with(super::settings::PATH);
            let answer = self.answer(request).await;
            self.keep(match &answer {
                Ok(response) => Report::of(response, whole_path),
                Err(error) => Report { problem: causes(error), ..Report::default() },
            });
            Ok(answer?)
        })
    }
}

impl Client {
    pub(super) fn new(client: reqwest::Client) -> Self {
        Self { client, last: Arc::default() }
    }

    /// The report of the last attempt, once.
    pub(super) fn report(&self) -> Report {
        self.keep(Report::default())
    }

    fn keep(&self, report: Report) -> Report {
        mem::replace(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner), report)
    }

    async fn answer(&self, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
        let mut answer = self.client.execute(request.try_into()?).await?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = mem::take(answer.headers_mut());
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST_ANSWER => {
                    body.extend_from_slice(&chunk);
                }
                Ok(None) => break,
                // The status says it all: what was taken is not to be sent again.
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

impl Report {
    /// `whole_path`: the address is one that collectors usually have.
    fn of(response: &Response<Bytes>, whole_path: bool) -> Self {
        let status = response.status();
        if status.is_success() {
            return Self::of_success(response.body());
        }
        let hint = if status.as_u16() == 404 && !whole_path {
            "; is /v1/traces missing from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?"
        } else {
            ""
        };
        let wait = if matches!(status.as_u16(), 429 | 503) { wait(response) } else { None };
        Self { problem: format!("the collector answers {status}{hint}"), refused: 0, wait }
    }

    fn of_success(body: &Bytes) -> Self {
        let answer = ExportTraceServiceResponse::decode(body.as_ref()).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        match u64::try_from(partial.rejected_spans) {
            Err(_) | Ok(0) => Self::default(),
            Ok(refused) => {
                let problem = format!("the collector refuses some: {}", partial.error_message);
                Self { problem, refused, wait: None }
            }
        }
    }
}

/// What `Retry-After` says, in seconds; a date is not read.
fn wait(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The innermost cause, without the address, which may hold a secret.
fn causes(error: &reqwest::Error) -> String {
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

    fn answer(status: u16, retry_after: &str, body: impl Into<Bytes>) -> Response<Bytes> {
        let response = Response::builder().status(status).header("retry-after", retry_after);
        response.body(body.into()).unwrap()
    }

    #[test]
    fn a_collector_is_waited_for_as_long_as_it_says_and_not_for_ever() {
        let wait = |status, after| Report::of(&answer(status, after, ""), true).wait;
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            [wait(429, "7"), wait(503, " 7 "), wait(429, "99999")],
            [seconds(7), seconds(7), seconds(60)]
        );
        for (status, after) in [(200, "7"), (500, "7"), (429, "-1"), (503, "soon")] {
            assert_eq!(wait(status, after), None, "{status} {after}");
        }
    }

    #[test]
    fn what_was_refused_of_a_success_is_known() {
        let success = |rejected_spans| {
            let partial_success = Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "too old".to_owned(),
            });
            let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            Report::of(&answer(200, "", body), true)
        };
        let some = success(3);
        assert_eq!(
            (some.refused, some.problem.as_str()),
            (3, "the collector refuses some: too old")
        );
        for all in [success(0), success(-1), Report::of(&answer(200, "", "{}"), true)] {
            assert_eq!((all.refused, all.problem.as_str()), (0, ""));
        }
    }

    #[test]
    fn an_address_without_its_path_is_guessed() {
        let problem = |whole_path| Report::of(&answer(404, "", ""), whole_path).problem;
        assert_eq!(problem(true), "the collector answers 404 Not Found");
        assert!(
            problem(false)
                .ends_with("; is /v1/traces missing from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?")
        );
    }
}
