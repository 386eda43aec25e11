//! From ended spans to the collector: a bounded queue, and a thread of its own that empties it.
//!
//! Whoever ends a span never waits: when the queue is full, the span is dropped and counted. What
//! cannot be exported is dropped and counted, too, and told once a minute at most.

use super::TraceSettings;
use crate::events::{Event, Text};
use crate::metrics::Metrics;
use crate::outbound;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

/// How long the last spans may take to be exported when the process ends.
const FLUSH: Duration = Duration::from_secs(2);
/// How often it is looked whether a batch is full.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of a collector's answer that are looked at.
const LARGEST_ANSWER: usize = 64 << 10;

/// The way of ended spans to the thread that exports them.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
}

impl Queue {
    pub(super) fn push(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.metrics.tell(Event::SpansCrowded);
        }
    }
}

/// The other end.
#[derive(Debug)]
pub(super) struct Exporter {
    closing: oneshot::Sender<()>,
    done: oneshot::Receiver<()>,
    metrics: Arc<Metrics>,
}

impl Exporter {
    /// Exports what waits, within [`FLUSH`].
    pub(super) async fn close(self) {
        let _ = self.closing.send(());
        if timeout(FLUSH, self.done).await.is_err() {
            self.metrics.tell(Event::SpansLeft);
        }
    }
}

/// Starts the thread.
pub(super) fn start(
    settings: &TraceSettings,
    resource: &Resource,
    metrics: &Arc<Metrics>,
) -> io::Result<(Arc<Queue>, Exporter)> {
    let client = outbound::client().timeout(settings.timeout).build().map_err(io::Error::other)?;
    let problem = Arc::new(Mutex::new(String::new()));
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client { client, problem: problem.clone() })
        .with_endpoint(settings.endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.timeout)
        .with_headers(settings.headers.clone())
        .build()
        .map_err(io::Error::other)?;
    exporter.set_resource(resource);
    let (sender, queue) = mpsc::channel(settings.queue);
    let (closing, closed) = oneshot::channel();
    let (finished, done) = oneshot::channel();
    let task = Task {
        queue,
        batch: settings.batch,
        delay: settings.delay,
        timeout: settings.export_timeout,
        exporter,
        problem,
        metrics: metrics.clone(),
    };
    // Not among those who deliver messages: encoding hundreds of spans takes a while.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
        runtime.block_on(task.run(closed));
        let _ = finished.send(());
        runtime.shutdown_background();
    })?;
    let queue = Queue { sender, metrics: metrics.clone() };
    Ok((Arc::new(queue), Exporter { closing, done, metrics: metrics.clone() }))
}

struct Task {
    queue: mpsc::Receiver<SpanData>,
    batch: usize,
    delay: Duration,
    timeout: Duration,
    exporter: opentelemetry_otlp::SpanExporter,
    /// Why the last attempt failed.
    problem: Arc<Mutex<String>>,
    metrics: Arc<Metrics>,
}

impl Task {
    /// Exports until it is to end, and then what is left.
    async fn run(mut self, mut closing: oneshot::Receiver<()>) {
        let mut spans = Vec::with_capacity(self.batch);
        self.serve(&mut spans, &mut closing).await;
        loop {
            self.fill(&mut spans);
            if spans.is_empty() {
                return;
            }
            self.export(&mut spans).await;
        }
    }

    /// Exports batches when they are full, or when their first span has waited long enough. Only the
    /// first wakes this thread: that costs whoever ends a span more than the span. What is being
    /// exported when it is to end is finished.
    async fn serve(&mut self, spans: &mut Vec<SpanData>, closing: &mut oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                _ = &mut *closing => return,
                count = self.queue.recv_many(spans, self.batch) => if count == 0 {
                    return;
                }
            }
            let due = Instant::now() + self.delay;
            while spans.len() < self.batch && Instant::now() < due {
                tokio::select! {
                    _ = &mut *closing => return,
                    () = sleep_until(due.min(Instant::now() + LOOK)) => self.fill(spans),
                }
            }
            self.export(spans).await;
        }
    }

    /// Takes what waits, as far as it makes a batch.
    fn fill(&mut self, spans: &mut Vec<SpanData>) {
        while spans.len() < self.batch
            && let Ok(span) = self.queue.try_recv()
        {
            spans.push(span);
        }
    }

    async fn export(&mut self, spans: &mut Vec<SpanData>) {
        let spans = std::mem::replace(spans, Vec::with_capacity(self.batch));
        let count = spans.len() as u64;
        let problem = match timeout(self.timeout, self.exporter.export(spans)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
                if problem.is_empty() { error.to_string() } else { std::mem::take(&mut *problem) }
            }
            Err(_) => "no answer in time".to_owned(),
        };
        self.metrics.tell_times(count, Event::SpansLost { problem: Text::of(problem) });
    }
}

/// The HTTP client, which keeps what went wrong: the exporter says only that something did.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    problem: Arc<Mutex<String>>,
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
            let answer = self.answer(request).await;
            let problem = match &answer {
                Ok(response) if response.status().is_success() => String::new(),
                Ok(response) => format!("the collector answers {}", response.status()),
                Err(error) => causes(error),
            };
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
            Ok(answer?)
        })
    }
}

impl Client {
    async fn answer(&self, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
        let mut answer = self.client.execute(request.try_into()?).await?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                body.clear();
                break;
            }
            body.extend_from_slice(&chunk);
        }
        *response.body_mut() = body.into();
        Ok(response)
    }
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
