//! Holds the payload of a request that may be answered before all of it has come.
//!
//! actix would read on to the end of a chunked payload that nobody wants, for as long as the client
//! sends it, and would answer a second time if it is malformed. It does neither while the payload is
//! held. The response therefore holds it, and the connection ends with the response.

use actix_http::{BoxedPayloadStream, Payload};
use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::TRANSFER_ENCODING;
use futures_util::{Stream, StreamExt};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The payload of a request, read by its endpoint and held by its response.
#[derive(Clone)]
pub struct HeldPayload(Rc<RefCell<Payload<BoxedPayloadStream>>>);

/// Holds the payload of a request, if it is chunked.
pub fn hold(request: &mut ServiceRequest) -> Option<HeldPayload> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let held = HeldPayload(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream { payload: Box::pin(held.clone()) });
    Some(held)
}

impl Stream for HeldPayload {
    type Item = <Payload as Stream>::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next_unpin(context)
    }
}
