//! A recorded span, which ends when it is dropped.

use super::export::Queue;
use opentelemetry::trace::{Link, SpanContext, Status};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use std::sync::Arc;
use std::time::SystemTime;
use warren_protocol::error::PublishError;

/// A span that ends when it is dropped. Spans that are not recorded are not created.
#[derive(Debug)]
pub struct Span {
    context: SpanContext,
    /// `None` once it has ended.
    data: Option<Box<SpanData>>,
    queue: Arc<Queue>,
}

impl Span {
    pub(super) fn new(data: SpanData, queue: &Arc<Queue>) -> Self {
        let context = data.span_context.clone();
        Self { context, data: Some(Box::new(data)), queue: queue.clone() }
    }

    /// The context for its children and for other processes.
    pub fn context(&self) -> &SpanContext {
        &self.context
    }

    pub(super) fn rename(&mut self, name: String) {
        if let Some(data) = &mut self.data {
            data.name = name.into();
        }
    }

    pub(super) fn link(&mut self, context: SpanContext) {
        if let Some(data) = &mut self.data {
            data.links.links.push(Link::with_context(context));
        }
    }

    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let Some(data) = &mut self.data else { return };
        let attribute = KeyValue::new(key, value);
        // Collectors expect each key once.
        match data.attributes.iter_mut().find(|known| known.key == attribute.key) {
            Some(known) => known.value = attribute.value,
            None => data.attributes.push(attribute),
        }
    }

    /// Records the outcome of publishing.
    pub fn settle(&mut self, outcome: &Result<Option<Arc<str>>, PublishError>) {
        match outcome {
            Ok(Some(id)) => self.set("warren.message.id", id.clone()),
            Ok(None) => {}
            Err(error) => self.fail(error.code()),
        }
    }

    /// Records a failure. `code` is one of a few values.
    pub fn fail(&mut self, code: &'static str) {
        self.set("error.type", code);
        if let Some(data) = &mut self.data {
            data.status = Status::error(code);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut data) = self.data.take() {
            data.end_time = SystemTime::now();
            self.queue.push(*data);
        }
    }
}
