//! Creates spans.
//!
//! Built from parts of the SDK, without its tracer, which creates a span before it asks the sampler. For a
//! message that is not sampled, that costs more than everything else.

use super::export::{self, Exporter, Queue};
use super::settings::Sampling;
use super::{BroadcastSpan, Span, TraceSettings};
use crate::events::{Event, SanitizedText};
use crate::reporter::Reporter;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

/// The flag of a random trace id (W3C Trace Context, level 2).
const RANDOM: TraceFlags = TraceFlags::new(2);
/// Capacity for the attributes of most spans.
const ATTRIBUTE_CAPACITY: usize = 10;

/// Creates spans, or none if no traces are exported. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<SpanFactory>>);

#[derive(Debug)]
struct SpanFactory {
    sampling: Sampling,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
}

/// The export of the traces of this process.
#[derive(Debug, Default)]
pub struct Traces {
    pub tracer: Tracer,
    /// `None`: no traces are exported.
    exporter: Option<Exporter>,
}

impl Traces {
    /// Starts the export, if it is configured.
    ///
    /// # Errors
    /// If the thread or the client cannot be created.
    pub fn start(
        settings: Option<&TraceSettings>,
        replica: &str,
        reporter: &Arc<Reporter>,
    ) -> io::Result<Self> {
        let Some(settings) = settings else { return Ok(Self::default()) };
        let resource = resource(settings, replica);
        let (queue, exporter) = export::start(settings, &resource, reporter)?;
        let scope =
            InstrumentationScope::builder("warren").with_version(env!("CARGO_PKG_VERSION")).build();
        reporter.emit(Event::ExportingTraces {
            to: SanitizedText::of(settings.destination()),
            sampling: SanitizedText::of(&settings.sampling),
        });
        let (sampling, ids) = (settings.sampling.clone(), RandomIdGenerator::default());
        let tracer = Tracer(Some(Arc::new(SpanFactory { sampling, ids, scope, queue })));
        Ok(Self { tracer, exporter: Some(exporter) })
    }

    /// Exports the remaining spans, within a time limit.
    pub async fn close(self) {
        if let Some(exporter) = self.exporter {
            exporter.close().await;
        }
    }
}

/// Attributes of this process. Those of the settings take precedence.
fn resource(settings: &TraceSettings, replica: &str) -> Resource {
    let own = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
    let given =
        settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(own("service.name", "warren"))
        .with_attribute(own("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(own("service.instance.id", replica))
        .with_attributes(given)
        .build()
}

impl Tracer {
    /// Returns true if traces are exported.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins an HTTP request that publishes: returns its span if it is recorded, and the context for the
    /// message. Without traces, that is the caller's context.
    pub fn request(&self, parent: Option<SpanContext>) -> (Option<Span>, Option<SpanContext>) {
        let (mut span, context) = self.enter(parent, None, "POST /messages", SpanKind::Server);
        if let Some(span) = &mut span {
            span.set("http.request.method", "POST");
            span.set("http.route", "/messages");
            span.set("url.path", "/messages");
            span.set("url.scheme", "http");
        }
        (span, context)
    }

    /// Begins a WebSocket message, with a trace of its own.
    pub fn frame(&self) -> (Option<Span>, Option<SpanContext>) {
        let (mut span, context) = self.enter(None, None, "WebSocket publish", SpanKind::Server);
        if let Some(span) = &mut span {
            span.set("network.protocol.name", "websocket");
        }
        (span, context)
    }

    /// Begins the broadcast of a message, if its trace is recorded. `size`: of its frame, in bytes.
    pub fn broadcast(
        &self,
        parent: Option<&SpanContext>,
        size: usize,
    ) -> Option<Arc<BroadcastSpan>> {
        let span = self.child(parent?, "broadcast", SpanKind::Internal)?;
        Some(Arc::new(BroadcastSpan::new(span, size)))
    }

    /// Begins a span where a trace enters this process, if it is sampled. Returns the context for what
    /// follows, sampled or not. `root`: the id of a trace that begins here, if it is not random.
    pub(super) fn enter(
        &self,
        parent: Option<SpanContext>,
        root: Option<TraceId>,
        name: &'static str,
        kind: SpanKind,
    ) -> (Option<Span>, Option<SpanContext>) {
        let Some(factory) = &self.0 else { return (None, parent) };
        let trace = match &parent {
            Some(parent) => parent.trace_id(),
            None => root.unwrap_or_else(|| factory.ids.new_trace_id()),
        };
        if factory.sampling.samples(parent.as_ref(), trace) {
            let span = factory.span(trace, parent, name, kind);
            let context = span.context().clone();
            return (Some(span), Some(context));
        }
        let context = match parent {
            Some(parent) if !parent.is_sampled() => parent,
            // Changing the sampled flag requires a new span id.
            parent => factory.context(trace, TraceFlags::NOT_SAMPLED, parent.as_ref()),
        };
        (None, Some(context))
    }

    /// Begins a child of a span of this process, if that one is recorded.
    pub(super) fn child(
        &self,
        parent: &SpanContext,
        name: &'static str,
        kind: SpanKind,
    ) -> Option<Span> {
        let factory = self.0.as_ref().filter(|_| parent.is_sampled())?;
        Some(factory.span(parent.trace_id(), Some(parent.clone()), name, kind))
    }
}

impl SpanFactory {
    fn span(
        &self,
        trace: TraceId,
        parent: Option<SpanContext>,
        name: &'static str,
        kind: SpanKind,
    ) -> Span {
        let now = SystemTime::now();
        let data = SpanData {
            span_context: self.context(trace, TraceFlags::SAMPLED, parent.as_ref()),
            parent_span_id: parent.as_ref().map_or(SpanId::INVALID, SpanContext::span_id),
            parent_span_is_remote: parent.is_some_and(|parent| parent.is_remote()),
            span_kind: kind,
            name: name.into(),
            start_time: now,
            end_time: now,
            attributes: Vec::with_capacity(ATTRIBUTE_CAPACITY),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        };
        Span::new(data, &self.queue)
    }

    /// A new context in a trace. The random flag is copied, because it belongs to the trace id.
    fn context(
        &self,
        trace: TraceId,
        flags: TraceFlags,
        parent: Option<&SpanContext>,
    ) -> SpanContext {
        let state = parent.map_or(TraceState::NONE, |parent| parent.trace_state().clone());
        let random = parent.map_or(TraceFlags::default(), |it| it.trace_flags() & RANDOM);
        SpanContext::new(trace, self.ids.new_span_id(), flags | random, false, state)
    }
}

/// A tracer that records everything.
#[cfg(test)]
pub(super) fn always(queue: Arc<Queue>) -> Tracer {
    let sampler = opentelemetry_sdk::trace::Sampler::AlwaysOn;
    let sampling = Sampling { parent_based: true, sampler };
    let scope = InstrumentationScope::default();
    Tracer(Some(Arc::new(SpanFactory {
        sampling,
        ids: RandomIdGenerator::default(),
        scope,
        queue,
    })))
}
