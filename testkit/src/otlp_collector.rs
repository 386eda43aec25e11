//! An OpenTelemetry collector for traces: OTLP over HTTP, as protobuf.

use super::LIMIT;
use super::process::POLL;
use super::tls;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

/// A span, with the resource of its process.
#[derive(Clone, Debug, Default)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for the root span.
    pub parent: String,
    pub state: String,
    pub name: String,
    /// Kind in OTLP: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Trace and span ids of its links.
    pub links: Vec<(String, String)>,
    pub attributes: BTreeMap<String, String>,
    pub failed: bool,
    pub service: String,
    pub replica: String,
    pub resource: BTreeMap<String, String>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    /// Times and heads of the requests.
    heads: Vec<(Instant, String)>,
    /// Answers for the next requests.
    answers: VecDeque<Vec<u8>>,
}

pub struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts a collector with TLS. Returns its certificate as PEM.
    pub async fn secure() -> (Self, String) {
        let (acceptor, certificate) = tls::acceptor();
        (Self::listen(Some(acceptor)).await, certificate)
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Received::default()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let taken = received.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (received, tls) = (taken.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => serve(tls.accept(stream).await?, &received).await,
                        None => serve(stream, &received).await,
                    }
                });
            }
        });
        Self { address, scheme, received }
    }

    /// Value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().spans.clone()
    }

    /// The head of the first request.
    pub fn head(&self) -> String {
        let received = self.received.lock().unwrap();
        received.heads.first().map(|(_, head)| head.clone()).unwrap_or_default()
    }

    /// Times of the requests.
    pub fn times(&self) -> Vec<Instant> {
        self.received.lock().unwrap().heads.iter().map(|(time, _)| *time).collect()
    }

    /// Answers one of the next requests with this status, headers, an empty line and a body, and closes the connection.
    /// Unless the status is a success, the spans of the request are ignored.
    pub fn answer(&self, answer: impl AsRef<[u8]>) {
        let answer = [b"HTTP/1.1 ", answer.as_ref()].concat();
        self.received.lock().unwrap().answers.push_back(answer);
    }

    /// Waits for so many spans of a trace.
    pub async fn trace(&self, trace: &str, count: usize) -> Vec<Span> {
        self.such(|span| span.trace == trace, count).await
    }

    /// Waits for so many spans that satisfy `such`.
    pub async fn such(&self, such: impl Fn(&Span) -> bool, count: usize) -> Vec<Span> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let spans: Vec<_> = self.spans().into_iter().filter(&such).collect();
            if spans.len() >= count {
                return spans;
            }
            assert!(Instant::now() < deadline, "{} of {count}: {spans:#?}", spans.len());
            sleep(POLL).await;
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    received: &Mutex<Received>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
            let line = head[start..].trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let request = ExportTraceServiceRequest::decode(&*body).expect("OTLP as protobuf");
        let answer = {
            let mut received = received.lock().unwrap();
            received.heads.push((Instant::now(), head));
            let answer = received.answers.pop_front();
            if answer.as_ref().is_none_or(|answer| answer.starts_with(b"HTTP/1.1 200")) {
                received.spans.extend(spans(request));
            }
            answer
        };
        if let Some(answer) = answer {
            stream.write_all(&answer).await?;
            return stream.shutdown().await;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
            .await?;
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = map(of_resource.resource.unwrap_or_default().attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(read(span, &resource));
        }
    }
    spans
}

fn read(span: OtlpSpan, resource: &BTreeMap<String, String>) -> Span {
    let links = span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
    let attribute = |key: &str| resource.get(key).cloned().unwrap_or_default();
    Span {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        name: span.name,
        kind: span.kind,
        links,
        attributes: map(span.attributes),
        failed: span.status.is_some_and(|status| status.code == 2),
        service: attribute("service.name"),
        replica: attribute("service.instance.id"),
        resource: resource.clone(),
    }
}

fn map(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("another kind of value: {other:?}"),
    };
    let pair = |it: KeyValue| (it.key, text(it.value.and_then(|value| value.value)));
    attributes.into_iter().map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
