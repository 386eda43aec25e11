//! HTTP: requests by reqwest, and requests sent exactly as written.

use super::LIMIT;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request whose body stays incomplete.
pub const STALLED: &str =
    "POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"text\"";

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    /// Status and headers of a response, without its body.
    pub fn head_of(response: &reqwest::Response) -> Self {
        let status = response.status();
        let mut head = format!("HTTP/1.1 {status}");
        for (name, value) in response.headers() {
            let _ = write!(head, "\r\n{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        Self { status: status.as_u16(), head, body: String::new() }
    }

    /// A header's value, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| {
            line.split_once(':').is_some_and(|(header, _)| header.eq_ignore_ascii_case(name))
        });
        line.map_or("", |line| line[name.len() + 1..].trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The code of a JSON error.
    pub fn error(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// The client of all tests in this process. It keeps no connection, since each test has a runtime of its own.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let client = warren_client::http::client().pool_max_idle_per_host(0);
        client.build().expect("a client")
    })
}

pub async fn get(addr: SocketAddr, path: &str) -> Response {
    let request = client().get(format!("http://{addr}{path}"));
    exchange_by(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

pub async fn post(addr: SocketAddr, path: &str, body: &str) -> Response {
    let posted = try_post(addr, path, body).await;
    posted.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

/// Posts JSON to a server that may be gone.
///
/// # Errors
/// Nobody listens, or the connection is lost.
pub async fn try_post(addr: SocketAddr, path: &str, body: &str) -> io::Result<Response> {
    let request = client().post(format!("http://{addr}{path}"));
    let request = request.header("content-type", "application/json");
    exchange_by(request.body(body.to_owned())).await.map_err(io::Error::other)
}

async fn exchange_by(request: reqwest::RequestBuilder) -> Result<Response, reqwest::Error> {
    let exchange = async {
        let response = request.send().await?;
        let mut answer = Response::head_of(&response);
        answer.body = response.text().await?;
        Ok(answer)
    };
    timeout(LIMIT, exchange).await.expect("an answer in time")
}

/// Sends a request as written, and reads until the server closes the connection.
pub async fn send(addr: SocketAddr, request: &str) -> Response {
    try_send(addr, request).await.expect("an answer")
}

/// Sends a request and closes the sending side, for a proxy that would wait for more.
pub async fn send_last(addr: SocketAddr, request: &str) -> Response {
    exchange(addr, request, true).await.expect("an answer")
}

/// Sends a request to a server that may be gone.
pub async fn try_send(addr: SocketAddr, request: &str) -> io::Result<Response> {
    exchange(addr, request, false).await
}

async fn exchange(addr: SocketAddr, request: &str, last: bool) -> io::Result<Response> {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(request.as_bytes()).await?;
        if last {
            stream.shutdown().await?;
        }
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        io::Result::Ok(response)
    };
    let response = timeout(LIMIT, exchange).await.expect("an answer in time")?;
    let response = String::from_utf8(response).expect("text");
    let cut_off = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(cut_off)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Ok(Response { status, head: head.to_owned(), body: body.to_owned() })
}
