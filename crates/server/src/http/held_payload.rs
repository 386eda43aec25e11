//! A body that is answered before it has ended: its connection ends with the answer.
//!
//! For a chunked body that nobody wants, actix would go on to read until it ends, for as long as the
//! client likes, and answer a second time if it is malformed. It does not while the body is held, so
//! the answer holds it.

use actix_http::{BoxedPayloadStream, Payload};
use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::TRANSFER_ENCODING;
use futures_util::{Stream, StreamExt};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The body of a request, read by one and held by another.
#[derive(Clone)]
pub struct HeldPayload(Rc<RefCell<Payload<BoxedPayloadStream>>>);

/// Holds the body of a request, if it is chunked.
pub fn hold(request: &mut ServiceRequest) -> Option<HeldPayload> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let unread = HeldPayload(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream { payload: Box::pin(unread.clone()) });
    Some(unread)
}

impl Stream for HeldPayload {
    type Item = <Payload as Stream>::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next_unpin(context)
    }
}
