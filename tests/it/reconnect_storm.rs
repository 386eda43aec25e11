//! A replica dies, and all of its clients reconnect at once to the two others, through a load balancer.

use futures_util::future::join_all;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use warren_testkit::haproxy::{HaProxy, Setting};
use warren_testkit::heavy::heavy;
use warren_testkit::http::Response;
use warren_testkit::open_files::allow_open_files;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::HANDSHAKE;
use warren_testkit::replica::Replica;

const CLIENTS: usize = 5_000;
/// Connections that each of the two others may have, and visitors that it has already. The visitors leave once so many
/// clients were refused.
const ROOM: usize = CLIENTS / 2 + 50;
const VISITORS: usize = 150;
const REFUSED: usize = CLIENTS - 2 * (ROOM - VISITORS);
/// Messages that each client receives before, and misses meanwhile, at most.
const MESSAGES: usize = 40;
/// Longest time until all are back, beyond the delays that they were asked for. It is generous, because a busy machine
/// with two cores makes 5,000 connections twice.
const GENEROUS: Duration = Duration::from_secs(60);

/// A client that reconnects.
struct ReconnectingClient {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// Id and number of the last message.
    last: (String, usize),
    /// Sum of the delays that it was asked for.
    hints: Duration,
}

impl ReconnectingClient {
    fn new(start: &str) -> Self {
        let last = (start.to_owned(), 0);
        Self { stream: None, buffer: Vec::new(), last, hints: Duration::ZERO }
    }

    /// Reconnects, and waits as long as each 503 asks for. Any other answer is a failure.
    async fn connect(&mut self, addr: SocketAddr, refused: &watch::Sender<usize>) -> String {
        loop {
            let Some(answer) = self.handshake(addr).await else { break };
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.error(), "too_many_connections", "{answer:?}");
            let seconds: u64 = answer.header("retry-after").parse().expect("a hint");
            assert!((1..=5).contains(&seconds), "{seconds}");
            refused.send_modify(|refused| *refused += 1);
            self.hints += Duration::from_secs(seconds);
            sleep(Duration::from_secs(seconds)).await;
        }
        let ready = self.frame().await;
        assert_eq!(ready["ready"]["recovered"], true, "{ready}");
        ready["ready"]["replica"].as_str().unwrap().to_owned()
    }

    /// Makes a handshake with its cursor. Returns the answer if it is refused.
    async fn handshake(&mut self, addr: SocketAddr) -> Option<Response> {
        let request = HANDSHAKE.replace("/ws", &format!("/ws?after={}", self.last.0));
        let mut stream = TcpStream::connect(addr).await.expect("the load balancer is there");
        stream.write_all(request.as_bytes()).await.unwrap();
        self.buffer.clear();
        self.stream = Some(stream);
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.more().await, "it hung up: {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        if status == 101 {
            return None;
        }
        let mut answer = Response { status, head, body: String::new() };
        let length: usize = answer.header("content-length").parse().unwrap();
        while self.buffer.len() < length {
            assert!(self.more().await, "a whole answer");
        }
        answer.body = String::from_utf8(std::mem::take(&mut self.buffer)).unwrap();
        self.stream = None;
        Some(answer)
    }

    async fn more(&mut self) -> bool {
        self.buffer.reserve(4 << 10);
        let stream = self.stream.as_mut().expect("it is connected");
        let read = timeout(2 * GENEROUS, stream.read_buf(&mut self.buffer));
        read.await.expect("something in time").is_ok_and(|read| read > 0)
    }

    async fn frame(&mut self) -> Value {
        loop {
            if let Some((begin, end)) = frame(&self.buffer) {
                let frame = serde_json::from_slice(&self.buffer[begin..end]).unwrap();
                self.buffer.drain(..end);
                return frame;
            }
            assert!(self.more().await, "it stays connected");
        }
    }

    /// Reads up to message `goal`, and asserts that none is missing and none comes twice.
    async fn read(&mut self, goal: usize) {
        while self.last.1 < goal {
            let message = self.frame().await;
            let number = message["text"].as_u64().unwrap_or_else(|| panic!("{message}")) as usize;
            assert_eq!(number, self.last.1 + 1, "after {:?}", self.last);
            self.last = (message["id"].as_str().unwrap().to_owned(), number);
        }
    }

    /// Awaits the end of the connection.
    async fn cut(&mut self) {
        while self.more().await {}
        self.stream = None;
    }
}

/// Range of the payload of the frame at the beginning of the buffer, if it is complete.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    assert_eq!(*bytes.first()?, 0x81, "a text");
    let (begin, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= begin + length).then_some((begin, begin + length))
}

#[tokio::test]
async fn reconnect_of_5000_clients_is_served_by_two_replicas() {
    let _heavy = heavy().await;
    // Files for both sides of the load balancer, and for the clients.
    allow_open_files(4 * CLIENTS as u64);
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let (url, room) = (rabbitmq.url(), ROOM.to_string());
    let settings = [("MAX_CONNECTIONS", room.as_str()), ("PING_INTERVAL", "10m")];
    let crowded = [("MAX_CONNECTIONS", "6000"), ("PING_INTERVAL", "10m")];
    let (mut first, second, third) = tokio::join!(
        Replica::on_rabbitmq("first", &url, &exchange, &crowded),
        Replica::on_rabbitmq("second", &url, &exchange, &settings),
        Replica::on_rabbitmq("third", &url, &exchange, &settings),
    );
    let backends = [&first, &second, &third].map(|replica| (replica.addr, replica.admin));
    // With HAProxy's default checks it first sends clients to the dead replica, too.
    let setting =
        Setting { clients: CLIENTS + 1000, checks: "inter 2s fall 3", ..Setting::default() };
    let haproxy = HaProxy::with(&backends, setting).await;

    let refused = watch::Sender::new(0);
    let connect_all = async |addr, count, start: &str| {
        let few = Semaphore::new(500);
        let connected = (0..count).map(async |_| {
            let _turn = few.acquire().await.unwrap();
            let mut client = ReconnectingClient::new(start);
            client.connect(addr, &refused).await;
            client
        });
        join_all(connected).await
    };
    // All on one replica.
    let start = second.publish("lobby", 0).await;
    let mut clients = connect_all(first.addr, CLIENTS, &start).await;
    let visitors = [
        connect_all(second.addr, VISITORS, &start).await,
        connect_all(third.addr, VISITORS, &start).await,
    ];
    assert_eq!(*refused.borrow(), 0);
    // Each client has another cursor.
    for number in 1..=MESSAGES {
        second.publish("lobby", number).await;
    }
    join_all(clients.iter_mut().enumerate().map(async |(n, client)| {
        client.read(1 + n % MESSAGES).await;
    }))
    .await;

    first.kill();
    let died = Instant::now();
    join_all(clients.iter_mut().map(ReconnectingClient::cut)).await;
    let (served, back) = (RefCell::new(BTreeMap::<String, usize>::new()), Cell::new(died));
    let returning = join_all(clients.iter_mut().map(async |client| {
        let replica = client.connect(haproxy.addr(), &refused).await;
        *served.borrow_mut().entry(replica).or_default() += 1;
        let took = died.elapsed();
        assert!(took < client.hints + GENEROUS, "{took:?} with hints of {:?}", client.hints);
        back.set(back.get().max(Instant::now()));
    }));
    let leaving = async {
        let mut refused = refused.subscribe();
        refused.wait_for(|refused| *refused >= REFUSED).await.unwrap();
        drop(visitors);
    };
    tokio::join!(returning, leaving);
    let refusals = *refused.borrow();
    let most = clients.iter().map(|client| client.hints).max().unwrap();
    eprintln!("{refusals} refusals, hints of {most:?} at most, back in {:?}", back.get() - died);
    let served = served.into_inner();
    assert!(!served.contains_key("first") && served.len() == 2, "{served:?}");

    // The missed messages, and the next one.
    second.publish("lobby", MESSAGES + 1).await;
    join_all(clients.iter_mut().map(|client| client.read(MESSAGES + 1))).await;
    third.publish("lobby", MESSAGES + 2).await;
    join_all(clients.iter_mut().map(|client| client.read(MESSAGES + 2))).await;
}
