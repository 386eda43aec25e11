//! A replica dies, and all of its clients reconnect at once to the two others, through a load balancer.

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use warren_client::websocket::{ConnectError, Handshake, Message, WebSocket};
use warren_testkit::haproxy::{HaProxy, Setting};
use warren_testkit::heavy::heavy;
use warren_testkit::open_files::allow_open_files;
use warren_testkit::rabbitmq::{shared, unique};
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
    socket: Option<WebSocket>,
    /// Id and number of the last message.
    last: (String, usize),
    /// Sum of the delays that it was asked for.
    hints: Duration,
}

impl ReconnectingClient {
    fn new(start: &str) -> Self {
        Self { socket: None, last: (start.to_owned(), 0), hints: Duration::ZERO }
    }

    /// Reconnects, and waits as long as each 503 asks for. Any other answer is a failure.
    async fn connect(&mut self, addr: SocketAddr, refused: &watch::Sender<usize>) -> String {
        loop {
            let url = format!("ws://{addr}/ws?after={}", self.last.0);
            let handshake = Handshake::new(&url).unwrap().timeout(2 * GENEROUS);
            let answer = match handshake.connect().await {
                Ok(socket) => {
                    self.socket = Some(socket);
                    break;
                }
                Err(ConnectError::Refused(answer)) => answer,
                Err(error) => panic!("no answer: {error}"),
            };
            let body = String::from_utf8_lossy(&answer.body);
            assert_eq!(answer.status, 503, "{answer:?}: {body}");
            let error: Value = serde_json::from_str(&body).expect("a whole answer");
            assert_eq!(error["error"]["code"], "too_many_connections", "{error}");
            let hint = answer.headers["retry-after"].to_str().unwrap();
            let seconds: u64 = hint.parse().expect("a hint");
            assert!((1..=5).contains(&seconds), "{seconds}");
            refused.send_modify(|refused| *refused += 1);
            self.hints += Duration::from_secs(seconds);
            sleep(Duration::from_secs(seconds)).await;
        }
        let ready = self.frame().await;
        assert_eq!(ready["ready"]["recovered"], true, "{ready}");
        ready["ready"]["replica"].as_str().unwrap().to_owned()
    }

    async fn next(&mut self) -> Option<Message> {
        let socket = self.socket.as_mut().expect("it is connected");
        let next = timeout(2 * GENEROUS, socket.next()).await.expect("something in time");
        next?.ok()
    }

    async fn frame(&mut self) -> Value {
        match self.next().await.expect("it stays connected") {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
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
        while self.next().await.is_some() {}
        self.socket = None;
    }
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
