//! The body of an answer, with what lasts until it is handed over.

use super::guarded_stream::RequestPacing;
use super::held_payload::HeldPayload;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// See the module.
pub struct GuardedBody {
    pub body: BoxBody,
    pub line: Option<Rc<RequestPacing>>,
    pub _unread: Option<HeldPayload>,
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
        self.line.iter().for_each(|line| line.end());
    }
}
