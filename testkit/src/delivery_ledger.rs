//! Publishers and subscribers of numbers, for tests that kill replicas and RabbitMQ meanwhile. In the end every
//! subscriber has every number once, and all have them in one order.

use super::client::Client;
use super::follower::{Book, Follower};
use super::http::try_post;
use super::process::POLL;
use fastrand::Rng;
use serde_json::json;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use tokio::sync::watch;
use tokio::time::sleep;

/// Commands of a publisher that are not answered yet.
const OUTSTANDING: usize = 64;

pub struct DeliveryLedger {
    /// Addresses of the replicas, of which some may be down.
    addrs: Vec<SocketAddr>,
    /// Id of the message before the first number.
    start: String,
    messages: usize,
    book: RefCell<Book>,
    confirmed: watch::Sender<usize>,
    /// Numbers that may be published so far.
    allowed: watch::Sender<usize>,
}

impl DeliveryLedger {
    pub fn new(addrs: Vec<SocketAddr>, start: String, messages: usize) -> Self {
        let (book, confirmed) = (RefCell::default(), watch::Sender::new(0));
        Self { addrs, start, messages, book, confirmed, allowed: watch::Sender::new(0) }
    }

    /// Waits until so many numbers are confirmed. Some more may be published, but not all, so that publishers are busy
    /// when this returns.
    pub async fn reaches(&self, count: usize) {
        self.allowed.send_replace(count + self.messages / 8);
        self.are_confirmed(count).await;
    }

    async fn are_confirmed(&self, count: usize) {
        self.confirmed.subscribe().wait_for(|confirmed| *confirmed >= count).await.unwrap();
    }

    /// Waits until more than so many may be published.
    async fn may_exceed(&self, count: usize) {
        self.allowed.subscribe().wait_for(|allowed| *allowed > count).await.unwrap();
    }

    fn confirmed(&self) -> usize {
        *self.confirmed.borrow()
    }

    /// Publishes numbers as commands, each with a key of its own, and repeats each until it is confirmed.
    pub async fn command(&self, numbers: Range<usize>, mut rng: Rng) {
        let mut waiting: VecDeque<_> = numbers.collect();
        let mut outstanding = BTreeSet::new();
        while !waiting.is_empty() {
            let Ok(mut client) = Client::try_connect_v1(self.any(&mut rng), "").await else {
                sleep(POLL).await;
                continue;
            };
            loop {
                while outstanding.len() < OUTSTANDING
                    && self.confirmed() + outstanding.len() < *self.allowed.borrow()
                    && let Some(n) = waiting.pop_front()
                {
                    outstanding.insert(n);
                    let content = json!({ "ref": n, "key": key(n), "text": n });
                    // A lost connection shows when it is read.
                    let _ = client.try_send(json!({ "publish": content }).to_string()).await;
                }
                if outstanding.is_empty() && waiting.is_empty() {
                    return;
                }
                if outstanding.is_empty() {
                    self.may_exceed(self.confirmed()).await;
                    continue;
                }
                let Ok(frame) = client.frame().await else { break };
                if let Some(n) = frame["published"]["ref"].as_u64() {
                    outstanding.remove(&(n as usize));
                    self.confirmed.send_modify(|confirmed| *confirmed += 1);
                } else {
                    let n = frame["error"]["ref"].as_u64().unwrap_or_else(|| panic!("{frame}"));
                    outstanding.remove(&(n as usize));
                    waiting.push_front(n as usize);
                    sleep(POLL).await;
                }
            }
            for n in std::mem::take(&mut outstanding).into_iter().rev() {
                waiting.push_front(n);
            }
        }
    }

    /// Publishes numbers over HTTP, as [`DeliveryLedger::command`] does.
    pub async fn post(&self, numbers: Range<usize>, mut rng: Rng) {
        for n in numbers {
            self.may_exceed(self.confirmed()).await;
            let body = json!({ "key": key(n), "text": n }).to_string();
            loop {
                match try_post(self.any(&mut rng), "/messages", &body).await {
                    Ok(response) if response.status == 202 => break,
                    Ok(response) => assert_eq!(response.status, 503, "{response:?}"),
                    Err(_) => {}
                }
                sleep(POLL).await;
            }
            self.confirmed.send_modify(|confirmed| *confirmed += 1);
        }
    }

    /// Reads all numbers. The subscriber disconnects at some of them, stays away for some time if `absent`, and resumes
    /// on any replica, as it does when a connection is lost.
    pub async fn follow(&self, absent: bool, mut rng: Rng) {
        let mut follower = Follower::new(&self.book, 0, &self.start);
        let mut goals = [(); 3].map(|()| rng.usize(1..self.messages)).to_vec();
        goals.sort_unstable();
        goals.push(self.messages);
        for goal in goals {
            self.get(&mut follower, goal, &mut rng).await;
            if goal < self.messages {
                follower.disconnect();
                if absent {
                    self.are_confirmed((goal + self.messages / 3).min(self.messages)).await;
                }
            }
        }
        // The end marker is the next message.
        self.get(&mut follower, self.messages + 1, &mut rng).await;
    }

    async fn get(&self, follower: &mut Follower<'_>, goal: usize, rng: &mut Rng) {
        while !follower.read(goal).await {
            if follower.connect(self.any(rng)).await.is_err() {
                sleep(POLL).await;
            }
        }
    }

    /// Publishes the end marker once all numbers are confirmed.
    pub async fn end(&self) {
        self.reaches(self.messages).await;
        self.post(self.messages..self.messages + 1, Rng::with_seed(0)).await;
    }

    /// Asserts that every number was delivered once, and then the end marker.
    pub fn balance(self) {
        let book = self.book.into_inner();
        assert_eq!(book.len(), self.messages + 1);
        let number = |n| book.message(n)["text"].as_u64().expect("a number") as usize;
        assert_eq!(number(self.messages), self.messages, "the end");
        let mut numbers: Vec<_> = (0..self.messages).map(number).collect();
        numbers.sort_unstable();
        let wrong = numbers.iter().enumerate().find(|(n, number)| n != *number);
        assert_eq!(wrong, None, "each number once");
        let mut ids: Vec<_> = (0..book.len()).map(|n| book.id(n)).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), book.len(), "each with an id of its own");
    }

    fn any(&self, rng: &mut Rng) -> SocketAddr {
        self.addrs[rng.usize(..self.addrs.len())]
    }
}

fn key(n: usize) -> String {
    format!("number {n}")
}
