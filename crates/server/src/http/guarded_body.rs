//! The body of a response, with the guards that last until it is handed over.

use super::guarded_stream::RequestPacing;
use super::held_payload::HeldPayload;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The body of a response. While it exists, its request counts as being answered, and the request's
/// payload is held.
pub struct GuardedBody {
    body: BoxBody,
    pacing: Option<Rc<RequestPacing>>,
    _payload: Option<HeldPayload>,
}

impl GuardedBody {
    pub fn new(
        body: BoxBody,
        pacing: Option<Rc<RequestPacing>>,
        payload: Option<HeldPayload>,
    ) -> Self {
        Self { body, pacing, _payload: payload }
    }
}

impl MessageBody for GuardedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        if let Some(pacing) = &self.pacing {
            pacing.end_request();
        }
    }
}
