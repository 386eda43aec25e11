//! The client port: a listener, worker threads, and the routes that each of them serves.

use crate::endpoints::{history, page, publish, replicas};
use crate::http::error::{ApiError, only};
use crate::http::guarded_body::GuardedBody;
use crate::http::guarded_stream::{GuardedStream, REQUEST_TIMEOUT, RequestPacing};
use crate::http::held_payload::{self, HeldPayload};
use crate::worker::Worker;
use crate::{AppState, sse, upgrade, ws};
use actix_http::HttpService;
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::{App, web};
use socket2::{Domain, Socket, Type};
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use warren_observe::phase::Phase;

/// Connections that the kernel may hold for us before they are accepted.
const BACKLOG: i32 = 4096;
/// What the kernel keeps of one client's unread data, in bytes; it doubles the figure for its own use.
const SEND_BUFFER: usize = 128 << 10;
/// What the kernel takes from one client ahead of us, likewise.
const RECEIVE_BUFFER: usize = 128 << 10;
/// How long a client may take nothing of what is sent to it: longer than a WebSocket may be silent with
/// the default ping interval, and all that limits who asks over HTTP and does not read.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an idle HTTP connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long what a client goes on to send is thrown away once it was answered: a socket that is closed
/// at once resets, and its answer is lost. Less than a second, and actix leaves sockets open.
const LINGER: Duration = Duration::from_secs(1);
/// What HTTP requests may take to end when the server stops, beyond what RabbitMQ may take, in seconds.
const STOP_SLACK: u64 = 5;

/// Binds the client port.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Accepted connections inherit all of it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves clients on `listener` until the returned server is stopped.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(listener: TcpListener, state: Arc<AppState>) -> io::Result<Server> {
    let workers = state.config.workers.0;
    // Upgraded sockets do not count here; they have a limit of their own.
    let plain = (state.connections.plain() / workers).max(16);
    let server = Server::build()
        .workers(workers)
        .worker_max_blocking_threads(1)
        .max_concurrent_connections(plain)
        .shutdown_timeout(state.config.publish_timeout.0.as_secs() + STOP_SLACK)
        .disable_signals()
        .listen("clients", listener, move || {
            let worker = Worker::start(state.clone());
            let phase = state.phase.clone();
            let http = HttpService::build()
                // Idle connections need not be waited for.
                .graceful_shutdown_signal(move || {
                    let mut phase = phase.clone();
                    async move {
                        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
                    }
                })
                .client_request_timeout(REQUEST_TIMEOUT)
                .client_disconnect_timeout(LINGER)
                .keep_alive(KEEP_ALIVE)
                .on_connect_ext(|gate: &GuardedStream, data| drop(data.insert(gate.line().clone())))
                .upgrade(upgrade::factory(worker.clone()))
                .h1(app(worker));
            // Nobody asks whose address it is: it would be a load balancer's.
            let accepted = |io| ready(Ok((GuardedStream::new(io), None)));
            fn_service(accepted).and_then(http)
        })?;
    Ok(server.run())
}

/// All that actix-web routes, for one worker.
pub fn app(
    worker: Rc<Worker>,
) -> impl ServiceFactory<
    actix_http::Request,
    Config = (),
    Response = ServiceResponse<BoxBody>,
    Error = actix_web::Error,
    InitError = (),
> {
    let app = App::new()
        .app_data(worker)
        .wrap_fn(|mut request, service| {
            let line = RequestPacing::of(request.request());
            line.iter().for_each(|line| line.begin());
            let unread = held_payload::hold(&mut request);
            let answer = service.call(request);
            async move {
                let answer: ServiceResponse<BoxBody> = answer.await?;
                Ok(finish(answer, line, unread))
            }
        })
        .service(
            web::resource("/ws").route(web::get().to(ws::handshake)).default_service(only("GET")),
        )
        .service(
            web::resource("/messages")
                .route(web::get().to(history::page))
                .route(web::post().to(publish::publish))
                .default_service(only("GET, POST")),
        )
        .service(
            web::resource("/events").route(web::get().to(sse::events)).default_service(only("GET")),
        )
        .service(
            web::resource("/replicas")
                .route(web::get().to(replicas::list))
                .default_service(only("GET")),
        )
        .configure(page::routes)
        .default_service(web::to(not_found));
    map_config(app.into_factory(), |()| AppConfig::default())
}

/// What all answers have in common.
fn finish(
    mut answer: ServiceResponse<BoxBody>,
    line: Option<Rc<RequestPacing>>,
    unread: Option<HeldPayload>,
) -> ServiceResponse<BoxBody> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let nosniff = HeaderValue::from_static("nosniff");
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    }
    answer.map_body(|_, body| BoxBody::new(GuardedBody { body, line, _unread: unread }))
}

async fn not_found() -> Result<&'static str, ApiError> {
    Err(ApiError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::TcpStream;

    #[test]
    fn accepted_connections_send_at_once_and_have_bounded_buffers() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        let accepted = SockRef::from(&accepted);
        assert_eq!(accepted.send_buffer_size().unwrap(), 2 * SEND_BUFFER);
        assert_eq!(accepted.recv_buffer_size().unwrap(), 2 * RECEIVE_BUFFER);
    }
}
