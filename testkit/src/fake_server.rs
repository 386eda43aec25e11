//! Servers that are not replicas, or answer like faulty ones.

use super::ports::free_port;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server that ends with the test's runtime.
pub struct FakeServer {
    pub address: String,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl FakeServer {
    /// A server that answers each publish with `status`, and delivers its message so many times.
    pub async fn start(status: &'static str, times: usize) -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (events_sender, events) = watch::channel(String::new());
        let published = bodies.clone();
        let events_sender = Arc::new(events_sender);
        let address = serve(move |mut stream, request| {
            let (published, events_sender, mut events) =
                (published.clone(), events_sender.clone(), events.clone());
            tokio::spawn(async move {
                let Some((_, body)) = request.split_once("\r\n\r\n") else { return };
                if request.starts_with("POST") {
                    let body: Value = serde_json::from_str(body).unwrap();
                    let event = format!("data: {}\n\n", json!({ "text": body["text"] }));
                    published.lock().unwrap().push(body);
                    events_sender.send_replace(event.repeat(times));
                    let head = format!(
                        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
                    );
                    let _ = stream.write_all(head.as_bytes()).await;
                    return;
                }
                let head = "HTTP/1.1 200 OK\r\n\r\nevent: ready\ndata: {\"replica\":\"fake\"}\n\n";
                let _ = stream.write_all(head.as_bytes()).await;
                while events.changed().await.is_ok() {
                    let events = events.borrow_and_update().clone();
                    let _ = stream.write_all(events.as_bytes()).await;
                }
            });
        })
        .await;
        Self { address, bodies }
    }

    /// A server that answers each request with these bytes, and then closes, or sends a byte endlessly.
    pub async fn babbling(answer: String, endless: bool) -> Self {
        let address = serve(move |mut stream, _| {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = stream.write_all(answer.as_bytes()).await;
                while endless && stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            });
        })
        .await;
        Self { address, bodies: Arc::default() }
    }

    /// Number of publishes.
    pub fn published(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    /// Number of different keys that they had.
    pub fn keys(&self) -> usize {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().map(|body| body["key"].to_string()).collect::<BTreeSet<_>>().len()
    }
}

/// Calls `answer` with each connection and its first request. Returns the address.
async fn serve(answer: impl Fn(TcpStream, String) + Send + 'static) -> String {
    let address = format!("127.0.0.1:{}", free_port());
    let listener = TcpListener::bind(&address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Small requests come in one or two pieces: head and body.
            let mut request = String::new();
            let mut bytes = [0; 4096];
            while !(request.contains("\r\n\r\n")
                && (request.starts_with("GET") || request.ends_with('}')))
            {
                match stream.read(&mut bytes).await {
                    Ok(length @ 1..) => request += &String::from_utf8_lossy(&bytes[..length]),
                    _ => break,
                }
            }
            answer(stream, request);
        }
    });
    address
}
