//! Who makes spans, and whose they are.
//!
//! Made of the SDK's parts, and not by its tracer: that one makes a span to find out that it is not
//! wanted, which costs more than all the rest of a message that is not sampled.

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

/// The flag of an id that is random, by the recommendation.
const RANDOM: TraceFlags = TraceFlags::new(2);
/// Room for the attributes of most spans.
const ATTRIBUTES: usize = 10;

/// Makes spans, or none. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Maker>>);

#[derive(Debug)]
struct Maker {
    sampling: Sampling,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
}

/// The traces of this process.
#[derive(Debug, Default)]
pub struct Traces {
    pub tracer: Tracer,
    /// `None` when nothing is exported.
    exporter: Option<Exporter>,
}

impl Traces {
    /// Begins to export, if that is asked for.
    ///
    /// # Errors
    /// When there can be no thread for it.
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
        let tracer = Tracer(Some(Arc::new(Maker { sampling, ids, scope, queue })));
        Ok(Self { tracer, exporter: Some(exporter) })
    }

    /// Exports what is left, within a bound.
    pub async fn close(self) {
        if let Some(exporter) = self.exporter {
            exporter.close().await;
        }
    }
}

/// What is said of this process: what the settings say counts more than what is known.
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
    /// Whether there are traces at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins what a publisher asked for over HTTP: its span if it is recorded, and the context for
    /// all that follows from it. Without traces the caller's context is passed on.
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

    /// Begins what a client said on its WebSocket: a trace of its own.
    pub fn frame(&self) -> (Option<Span>, Option<SpanContext>) {
        let (mut span, context) = self.enter(None, None, "WebSocket publish", SpanKind::Server);
        if let Some(span) = &mut span {
            span.set("network.protocol.name", "websocket");
        }
        (span, context)
    }

    /// Begins the broadcast of a message whose trace is recorded. `size`: of its frame.
    pub fn broadcast(
        &self,
        parent: Option<&SpanContext>,
        size: usize,
    ) -> Option<Arc<BroadcastSpan>> {
        let span = self.child(parent?, "broadcast", SpanKind::Internal)?;
        Some(Arc::new(BroadcastSpan::new(span, size)))
    }

    /// A span where a trace enters this process, if it is sampled, and in any case the context for what
    /// follows. `root`: the trace, if it begins here and is not to be a random one.
    pub(super) fn enter(
        &self,
        parent: Option<SpanContext>,
        root: Option<TraceId>,
        name: &'static str,
        kind: SpanKind,
    ) -> (Option<Span>, Option<SpanContext>) {
        let Some(maker) = &self.0 else { return (None, parent) };
        let trace = match &parent {
            Some(parent) => parent.trace_id(),
            None => root.unwrap_or_else(|| maker.ids.new_trace_id()),
        };
        if maker.sampling.wants(parent.as_ref(), trace) {
            let span = maker.span(trace, parent, name, kind);
            let context = span.context().clone();
            return (Some(span), Some(context));
        }
        let context = match parent {
            Some(parent) if !parent.is_sampled() => parent,
            // Whoever changes the flag is to give a new id.
            parent => maker.context(trace, TraceFlags::NOT_SAMPLED, parent.as_ref()),
        };
        (None, Some(context))
    }

    /// A span below one of this process, if that is recorded.
    pub(super) fn child(
        &self,
        parent: &SpanContext,
        name: &'static str,
        kind: SpanKind,
    ) -> Option<Span> {
        let maker = self.0.as_ref().filter(|_| parent.is_sampled())?;
        Some(maker.span(parent.trace_id(), Some(parent.clone()), name, kind))
    }
}

impl Maker {
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
            attributes: Vec::with_capacity(ATTRIBUTES),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        };
        Span::new(data, &self.queue)
    }

    /// A new context in a trace. Whether its id is random is known by whoever gave it.
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
    Tracer(Some(Arc::new(Maker { sampling, ids: RandomIdGenerator::default(), scope, queue })))
}
