//! WebSockets to a small server: tungstenite's own, or bytes.

#![allow(clippy::expect_used, clippy::panic, clippy::result_large_err, clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use warren_client::websocket::{CloseFrame, ConnectError, Handshake, Message, Refusal, WebSocket};

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Accepts a WebSocket, selects the subprotocol that was offered, and sends back the request's path, its
/// header `x-token` and every text. `bye` makes it close.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut about = String::new();
    let accept = |request: &Request, mut response: Response| {
        let token = request.headers().get("x-token").map_or("", |token| token.to_str().unwrap());
        about = format!("{} {token}", request.uri());
        if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
        }
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, accept).await.unwrap();
    socket.send(Message::text(about)).await.unwrap();
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == "bye" => {
                let frame = CloseFrame { code: 4001.into(), reason: "as asked".into() };
                socket.close(Some(frame)).await.unwrap();
            }
            Message::Pong(_) => socket.send(Message::text("pong came")).await.unwrap(),
            Message::Text(_) => socket.send(message).await.unwrap(),
            _ => {}
        }
    }
}

async fn next<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocket<S>) -> Message {
    socket.next().await.unwrap().unwrap()
}

/// The outcome of a handshake with a server that sends these pieces, and then nothing.
async fn answered(pieces: &[&str], hangs_up: bool) -> Result<(), ConnectError> {
    let (listener, address) = listen().await;
    let pieces: Vec<_> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !hangs_up {
            std::future::pending::<()>().await;
        }
        drop(stream);
        std::future::pending::<()>().await;
    };
    let handshake = Handshake::new(&format!("ws://{address}/")).unwrap();
    let connecting = handshake.timeout(Duration::from_millis(300)).connect();
    tokio::select! {
        outcome = connecting => outcome.map(drop),
        () = server => unreachable!(),
    }
}

async fn refusal(pieces: &[&str], hangs_up: bool) -> Refusal {
    match answered(pieces, hangs_up).await {
        Err(ConnectError::Refused(refusal)) => *refusal,
        other => panic!("no refusal but {other:?}"),
    }
}

#[tokio::test]
async fn messages_pings_and_close_codes_arrive() {
    let (listener, address) = listen().await;
    tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    let handshake =
        Handshake::new("ws://no-such-name.invalid/a?channel=b").unwrap().address(address);
    let handshake = handshake.header("x-token", "secret").unwrap().subprotocol("v1").unwrap();
    let mut socket = handshake.connect().await.unwrap();
    assert_eq!(next(&mut socket).await, Message::text("/a?channel=b secret"));
    assert_eq!(next(&mut socket).await, Message::Ping("are you there".into()));
    assert_eq!(next(&mut socket).await, Message::text("pong came"));
    // Larger than any buffer.
    let long = "x".repeat(1 << 20);
    for text in [&*long, "hello"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::text(text));
    }
    socket.send(Message::text("bye")).await.unwrap();
    let frame = CloseFrame { code: 4001.into(), reason: "as asked".into() };
    assert_eq!(next(&mut socket).await, Message::Close(Some(frame)));
    assert!(socket.next().await.is_none());
}

#[tokio::test]
async fn certificate_is_verified_by_the_given_trust_store() {
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(identity.signing_key.serialize_der().into());
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    echo(stream).await;
                }
            });
        }
    });
    let mut roots = RootCertStore::empty();
    let trusting = |roots: &RootCertStore| {
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        Handshake::new(&format!("wss://{address}/a")).unwrap().tls(Arc::new(config))
    };
    let refused = trusting(&roots).connect().await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    roots.add(identity.cert.der().clone()).unwrap();
    let mut socket = trusting(&roots).connect().await.unwrap();
    assert_eq!(next(&mut socket).await, Message::text("/a "));
}

#[tokio::test]
async fn frames_sent_with_the_head_are_not_lost() {
    let (client, mut server) = tokio::io::duplex(64);
    let answer = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(server.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let key =
            request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n\u{1}\u{2}hi"
        );
        let mut answer = answer.into_bytes();
        // A final text frame.
        let at = answer.len() - 4;
        answer[at] = 0x81;
        server.write_all(&answer).await.unwrap();
        server
    };
    let handshake = Handshake::new("ws://host/").unwrap().start(client);
    let (socket, _server) = tokio::join!(handshake, answer);
    assert_eq!(next(&mut socket.unwrap()).await, Message::text("hi"));
}

#[tokio::test]
async fn refusal_has_status_and_body() {
    let head = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 3\r\n";
    for (pieces, hangs_up, body) in [
        (&["content-length: 4\r\n\r\nfull"][..], false, "full"),
        (&["content-length: 4\r\n\r\n", "fu", "ll"], false, "full"),
        (&["\r\n", "full"], true, "full"),
        // It stays open: what arrived in time is all there is.
        (&["\r\n", "fu"], false, "fu"),
        (&["content-length: 4\r\n\r\nfu"], true, "fu"),
        (&["transfer-encoding: chunked\r\n\r\n"], false, ""),
    ] {
        let pieces = [&[head], pieces].concat();
        let refusal = refusal(&pieces, hangs_up).await;
        assert_eq!((refusal.status, &*refusal.body), (503, body.as_bytes()), "{pieces:?}");
        assert_eq!(refusal.headers["retry-after"], "3");
    }
}

#[tokio::test]
async fn answers_that_open_no_websocket_are_told_apart() {
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH\r\n\r\n", "the answer is not HTTP/1.1"),
        ("HTTP/1.0 200 OK\r\n\r\n", "the answer is not HTTP/1.1"),
        (
            &*format!("{switching}sec-websocket-accept: x\r\n\r\n"),
            "does not complete the handshake",
        ),
        ("", "no answer within 300ms"),
    ] {
        let error = answered(&[answer], false).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = answered(&["HTTP/1.1 101"], true).await.unwrap_err();
    assert!(matches!(error, ConnectError::Closed), "{error}");
    let (listener, address) = listen().await;
    drop(listener);
    let refused = Handshake::new(&format!("ws://{address}")).unwrap().connect().await.unwrap_err();
    assert!(matches!(refused, ConnectError::Io(_)), "{refused}");
}

#[tokio::test]
async fn subprotocol_that_is_not_selected_is_an_error() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _: WebSocket<TcpStream> = tokio_tungstenite::accept_async(stream).await.unwrap();
    });
    let handshake = Handshake::new(&format!("ws://{address}")).unwrap().subprotocol("v1").unwrap();
    let error = handshake.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Incomplete(_)), "{error}");
}

#[test]
fn invalid_requests_are_refused() {
    for url in ["", "host", "http://host", "ws://", "/ws"] {
        assert!(matches!(Handshake::new(url), Err(ConnectError::InvalidRequest(_))), "{url}");
    }
    let handshake = Handshake::new("ws://host").unwrap();
    assert!(handshake.clone().header("a b", "c").is_err());
    assert!(handshake.header("a", "b\r\nc").is_err());
}
