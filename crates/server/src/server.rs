//! The client port: its socket, its limits, and the worker threads that serve it.

use crate::http::guarded_stream::{GuardedStream, REQUEST_TIMEOUT};
use crate::routes::app;
use crate::state::AppState;
use crate::{upgrade, worker};
use actix_http::HttpService;
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service};
use socket2::{Domain, Socket, Type};
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use warren_observe::phase::Phase;

/// Connections that the kernel may queue before they are accepted.
const BACKLOG: i32 = 4096;
/// Bytes that the kernel buffers for a client to read. It doubles the figure for its own use.
const SEND_BUFFER: usize = 128 << 10;
/// Bytes that the kernel buffers from a client, likewise.
const RECEIVE_BUFFER: usize = 128 << 10;
/// Time after which a client that acknowledges nothing is dropped. It is longer than a WebSocket may be
/// silent with the default ping interval, and the only limit for HTTP clients that do not read.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Time that an idle HTTP connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time that input is discarded after a final response. A socket that is closed with unread input is
/// reset, and the response is lost. With less than a second, actix leaves sockets open.
const LINGER: Duration = Duration::from_secs(1);
/// Time that HTTP requests have to end when the server stops, beyond the publish timeout, in seconds.
const STOP_SLACK: u64 = 5;

/// Binds a port.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Accepted connections inherit these options.
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
    // WebSockets do not count here. They have a limit of their own.
    let http_connections = (state.connections.plain() / workers).max(16);
    let server = Server::build()
        .workers(workers)
        .worker_max_blocking_threads(1)
        .max_concurrent_connections(http_connections)
        .shutdown_timeout(state.config.publish_timeout.0.as_secs() + STOP_SLACK)
        .disable_signals()
        .listen("clients", listener, move || {
            let worker = worker::start(state.clone());
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
                .on_connect_ext(|io: &GuardedStream, data| drop(data.insert(io.pacing().clone())))
                .upgrade(upgrade::factory(worker.clone()))
                .h1(app(worker));
            // The peer address is not passed on: behind a load balancer it is not the client's.
            let accept = |io| ready(Ok((GuardedStream::new(io), None)));
            fn_service(accept).and_then(http)
        })?;
    Ok(server.run())
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::TcpStream;

    #[test]
    fn accepted_connections_have_no_delay_and_bounded_buffers() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        let accepted = SockRef::from(&accepted);
        assert_eq!(accepted.send_buffer_size().unwrap(), 2 * SEND_BUFFER);
        assert_eq!(accepted.recv_buffer_size().unwrap(), 2 * RECEIVE_BUFFER);
    }
}
