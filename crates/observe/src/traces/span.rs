//! A span that is recorded, until it is dropped.

use super::export::Queue;
use opentelemetry::trace::{Link, SpanContext, Status};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use std::sync::Arc;
use std::time::SystemTime;
use warren_protocol::error::PublishError;

/// It ends when it is dropped. One that is not recorded is not made.
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

    /// What its children and other processes are told.
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
        // A key that comes twice is not for collectors.
        match data.attributes.iter_mut().find(|known| known.key == attribute.key) {
            Some(known) => known.value = attribute.value,
            None => data.attributes.push(attribute),
        }
    }

    /// What became of a message of a client.
    pub fn settle(&mut self, outcome: &Result<Option<Arc<str>>, PublishError>) {
        match outcome {
            Ok(Some(id)) => self.set("warren.message.id", id.clone()),
            Ok(None) => {}
            Err(error) => self.fail(error.code()),
        }
    }

    /// What it stands for has failed; `code` is one of few.
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
