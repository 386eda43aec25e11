//! The dialogue of a plain WebSocket: every text is published, every message arrives.

use super::client::{Client, Order};
use super::connection::{Connection, Dialogue};
use super::handshake::Admitted;
use super::limiter::Limiter;
use super::output::{Output, Source, Written};
use crate::broker::{self, Draft, Outcome, PublishError};
use crate::message::Channel;
use crate::transport::connections::Permit;
use crate::transport::worker::Worker;
use crate::wire::{Accept, Close, text_frame};
use actix_rt::net::TcpStream;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Messages of one client that may be on their way to RabbitMQ.
const MAX_PUBLISHING: usize = 256;
/// Errors that may wait to be written; a client that does not read them gets no more.
const MAX_ERRORS: usize = 256;

/// Lets an admitted client's socket live on this worker, on its own.
pub fn spawn(worker: &Rc<Worker>, io: TcpStream, early: BytesMut, admitted: Admitted) {
    let (reader, recovered) = worker.hub.borrow_mut().open(&admitted.channels, admitted.start());
    let client = Rc::new(Client::new(reader));
    let key = worker.enter(&client);
    admitted.permit.opened();
    let mut output = Output::default();
    output.push(worker.greeting(recovered));
    let chat = Chat {
        client,
        key,
        channel: admitted.channels.into_iter().next().unwrap_or_default(),
        publishing: VecDeque::new(),
        limiter: Limiter::new(worker.house.config.client_rate),
        worker: worker.clone(),
        _permit: admitted.permit,
    };
    actix_rt::spawn(Connection::new(io, worker.scratch.clone(), early, output, chat));
}

#[derive(Debug)]
struct Chat {
    worker: Rc<Worker>,
    client: Rc<Client>,
    key: usize,
    /// Where its messages go.
    channel: Channel,
    /// What becomes of them, oldest first.
    publishing: VecDeque<Outcome>,
    limiter: Limiter,
    _permit: Permit,
}

impl Chat {
    /// Tells the client, unless it has plenty to read of that already.
    fn reject(&self, code: &'static str, message: &str, output: &mut Output) {
        self.worker.house.metrics.rejected(code);
        if output.len() < MAX_ERRORS {
            output.push(error_frame(code, message));
        }
    }

    /// Has the message published; the name and text of the error if it cannot be.
    fn publish(&mut self, text: &str) -> Result<(), (&'static str, String)> {
        let house = &self.worker.house;
        if !self.limiter.allow(house.config.client_rate) {
            return Err((
                "rate_limited",
                "more messages than WARREN_CLIENT_RATE allows".to_owned(),
            ));
        }
        let draft =
            Draft { channel: self.channel.clone(), text: broker::string(text), trace: None };
        match house.publisher.submit(draft) {
            Ok(outcome) => {
                house.metrics.received("websocket");
                self.publishing.push_back(outcome);
                Ok(())
            }
            Err(error) => Err((error.code(), error.to_string())),
        }
    }
}

/// `{"error":{"code","message"}}`
fn error_frame(code: &str, message: &str) -> Bytes {
    text_frame(&json!({ "error": { "code": code, "message": message } }).to_string())
}

impl Dialogue for Chat {
    fn accept(&self) -> Accept {
        Accept { max_message: self.worker.house.config.max_message.0, binary: false }
    }

    fn poll(&mut self, context: &mut Context<'_>, output: &mut Output) {
        self.worker.hub.borrow_mut().set_waker(self.client.reader, context.waker());
        if self.client.missed.take() {
            output.push(self.worker.gap.clone());
        }
        while let Some(oldest) = self.publishing.front_mut() {
            match Pin::new(oldest).poll(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    output.push(error_frame(error.code(), &error.to_string()));
                }
            }
            self.publishing.pop_front();
        }
        if self.busy() {
            // It is not read, so it cannot be heard; that is not its fault.
            self.heard();
        }
    }

    fn text(&mut self, text: Cow<'_, str>, output: &mut Output) {
        if let Err((code, message)) = self.publish(&text) {
            self.reject(code, &message, output);
        }
    }

    fn too_late(&mut self, output: &mut Output) {
        let error = PublishError::Closing;
        self.reject(error.code(), &error.to_string(), output);
    }

    fn heard(&mut self) {
        self.client.heard.set(Instant::now());
        self.client.pinged.set(false);
    }

    fn busy(&self) -> bool {
        self.publishing.len() >= MAX_PUBLISHING
    }

    fn settled(&self) -> bool {
        self.publishing.is_empty()
    }

    fn source(&self) -> Option<Source<'_>> {
        Some((&self.worker.hub, self.client.reader))
    }

    fn take_order(&mut self) -> Option<Order> {
        self.client.take_order()
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.client.deadline.set(Some(deadline));
    }

    fn wrote(&mut self, written: Written) {
        self.worker.house.metrics.written(written.writes, written.deliveries, written.bytes);
    }

    fn ended(&mut self, close: Option<Close>) {
        self.worker.hub.borrow_mut().close(self.client.reader);
        self.worker.leave(self.key);
        self.worker.house.metrics.connection_closed(close);
    }

    fn patience(&self) -> Duration {
        self.worker.house.config.publish_timeout.0
    }
}
