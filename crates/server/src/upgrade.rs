//! Takes the sockets of WebSockets from actix. actix-http hands WebSocket requests over with their socket.
//! Such a request is routed like any other. If the response is 101, the socket becomes a connection.

use crate::http::guarded_stream::GuardedStream;
use crate::routes::app;
use crate::worker::Worker;
use crate::ws::{self, AcceptedUpgrade, UpgradeMarker};
use actix_codec::Encoder;
use actix_http::body::{BodySize, MessageBody};
use actix_http::h1::{Codec, Message};
use actix_http::{HttpMessage, Request, StatusCode};
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::ConnectionType;
use bytes::BytesMut;
use futures_util::SinkExt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

/// A socket with the HTTP/1 codec that decoded its request, and the input that followed it.
type Framed = actix_codec::Framed<GuardedStream, Codec>;

/// Bytes of the response to a handshake, or a little more.
const RESPONSE_SIZE: usize = 512;

/// The service that actix-http hands WebSocket requests to.
pub fn factory(
    worker: Rc<Worker>,
) -> impl ServiceFactory<(Request, Framed), Config = (), Response = (), Error = Error, InitError = ()>
{
    fn_factory(move || {
        let worker = worker.clone();
        async move {
            let app = Rc::new(app(worker.clone()).new_service(()).await?);
            Ok::<_, ()>(fn_service(move |(request, framed): (Request, Framed)| {
                let (app, worker) = (app.clone(), worker.clone());
                async move {
                    request.extensions_mut().insert(UpgradeMarker);
                    let response = app.call(request).await?;
                    // A client that is gone before it is answered is not an error.
                    let _ = respond(response, framed, &worker).await;
                    Ok::<_, Error>(())
                }
            }))
        }
    })
}

/// Starts the session of an accepted handshake, or sends any other response.
async fn respond(
    response: ServiceResponse<BoxBody>,
    mut framed: Framed,
    worker: &Rc<Worker>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (_, mut response) = response.into_parts();
    let accepted = response.extensions_mut().remove::<AcceptedUpgrade>();
    if let Some(accepted) =
        accepted.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS)
    {
        // The response is written together with the first frames, after responses to earlier requests.
        let (head, mut parts) = (response.drop_body().into(), framed.into_parts());
        let mut answer = BytesMut::with_capacity(parts.write_buf.len() + RESPONSE_SIZE);
        answer.extend_from_slice(&parts.write_buf);
        parts.codec.encode(Message::Item((head, BodySize::None)), &mut answer)?;
        ws::spawn(worker, parts.io.into_inner(), parts.read_buf, answer.freeze(), accepted);
        return Ok(());
    }
    // Any other response is the last one on this socket.
    response.head_mut().set_connection_type(ConnectionType::Close);
    let (response, body) = response.into_parts();
    let size = body.size();
    framed.send(Message::Item((response.into(), size))).await?;
    if matches!(size, BodySize::None | BodySize::Sized(0)) {
        return Ok(());
    }
    // Chunk by chunk: an event stream has no end.
    let mut body = pin!(body);
    while let Some(chunk) = poll_fn(|context| body.as_mut().poll_next(context)).await {
        framed.send(Message::Chunk(Some(chunk?))).await?;
    }
    framed.send(Message::Chunk(None)).await?;
    Ok(())
}
