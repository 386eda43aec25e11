//! One worker thread: its hub, its clients, and the tasks that keep them going.

use crate::AppState;
use crate::connection::{ConnectionCommand, ConnectionHandle, DirectWrite};
use crate::fanout::WorkerMessage;
use crate::session::subscriptions::SubscribeResult;
use actix_web::HttpRequest;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout_at};
use warren_hub::{Hub, HubLimits, SubscriberId};
use warren_observe::metrics::{WorkerCounters, WorkerSnapshot};
use warren_observe::traces::BroadcastSpan;
use warren_protocol::websocket::{CloseReason, Inflater, text_frame};

/// Bytes read from a socket at a time. One buffer serves all connections of a worker.
const READ_BUFFER: usize = 64 << 10;
/// Posts taken at once: what is there is appended before anyone is woken.
const BATCH: usize = 256;
/// Frame bytes appended before the listeners get their turn.
const BATCH_BYTES: usize = 256 << 10;
/// Clients written to before others get their turn.
const DELIVERIES: usize = 64;

/// What clients are told when messages may be missing.
const GAP: &str = "this replica was away from RabbitMQ: messages may be missing here";

/// What the connections of one thread share. Nothing in it is locked.
#[derive(Debug)]
pub struct Worker {
    pub state: Arc<AppState>,
    pub hub: RefCell<Hub>,
    /// Lent to whichever connection reads.
    pub scratch: Rc<RefCell<Vec<u8>>>,
    /// Lent with it, where messages may be compressed.
    pub inflater: Option<RefCell<Inflater>>,
    /// At the index of their readers.
    seats: RefCell<Vec<Option<ConnectionSlot>>>,
    draining: Cell<bool>,
    /// What this thread counts for itself.
    pub thread: Arc<WorkerCounters>,
    /// Tells clients that messages may be missing.
    pub gap: Bytes,
}

/// What a client is told first.
#[derive(Serialize)]
struct Ready<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    recovered: bool,
    replica: &'a str,
    version: &'a str,
}

/// A client, and how to write to it without waking its task, where that can be done.
#[derive(Debug)]
struct ConnectionSlot {
    client: Rc<ConnectionHandle>,
    line: Option<Weak<dyn DirectWrite>>,
}

impl Worker {
    /// Begins on the current thread.
    pub fn start(state: Arc<AppState>) -> Rc<Self> {
        let config = &state.config;
        let limits = HubLimits {
            history: config.history_bytes.0,
            hubs: config.workers.0,
            backlog: config.client_backlog.0 as u64,
        };
        let worker = Rc::new(Self {
            hub: RefCell::new(Hub::new(limits)),
            scratch: Rc::new(RefCell::new(vec![0; READ_BUFFER])),
            inflater: config.compression.0.map(|_| RefCell::default()),
            seats: RefCell::default(),
            draining: Cell::new(false),
            thread: state.reporter.worker(),
            gap: text_frame(&json!({ "gap": { "message": GAP } }).to_string()),
            state: state.clone(),
        });
        actix_rt::spawn(worker.clone().take_posts(state.workers.open()));
        actix_rt::spawn(worker.clone().sweep());
        let thread = worker.thread.clone();
        actix_rt::spawn(async move { thread.measure().await });
        worker
    }

    /// The worker that serves a request.
    #[expect(clippy::expect_used, reason = "every app that is served is built with a worker")]
    pub fn of(request: &HttpRequest) -> Rc<Self> {
        let worker = request.app_data::<Rc<Self>>();
        worker.expect("the worker is part of every app that is served").clone()
    }

    /// What a client is told first, as JSON: who serves it, and how its wish was met.
    pub fn ready(&self, met: &SubscribeResult) -> String {
        let SubscribeResult { recovered, reason, cursor } = met;
        let (recovered, reason, cursor) = (*recovered, *reason, cursor.as_deref());
        let (replica, version) = (&*self.state.config.replica.0, env!("CARGO_PKG_VERSION"));
        let ready = Ready { cursor, reason, recovered, replica, version };
        serde_json::to_string(&ready).unwrap_or_default()
    }

    /// What is said of a gap, as JSON.
    pub fn gap_text(&self) -> String {
        json!({ "message": GAP }).to_string()
    }

    /// Adds a client.
    pub fn enter(&self, client: &Rc<ConnectionHandle>) {
        if self.draining.get() {
            // It slipped in while the door was being closed.
            client.give(
                self,
                ConnectionCommand::Close(CloseReason::Restart, Some(self.retry_hint())),
            );
        }
        let (mut seats, place) = (self.seats.borrow_mut(), client.reader.index());
        if seats.len() <= place {
            seats.resize_with(place + 1, || None);
        }
        seats[place] = Some(ConnectionSlot { client: client.clone(), line: None });
    }

    /// From now on messages may be written to this reader's line, without waking its task.
    pub fn set_line(&self, reader: SubscriberId, line: Weak<dyn DirectWrite>) {
        if let Some(Some(seat)) = self.seats.borrow_mut().get_mut(reader.index()) {
            seat.line = Some(line);
        }
    }

    pub fn leave(&self, reader: SubscriberId) {
        if let Some(seat) = self.seats.borrow_mut().get_mut(reader.index()) {
            *seat = None;
        }
    }

    /// Appends what was broadcast to the hub, and has it delivered: once for many messages, but often
    /// enough that it is written before more comes.
    async fn take_posts(self: Rc<Self>, mut inbox: mpsc::Receiver<WorkerMessage>) {
        let coalesce = self.state.config.coalesce.0;
        let mut batch = Vec::with_capacity(BATCH);
        let mut delivered = None;
        while inbox.recv_many(&mut batch, BATCH).await > 0 {
            if !coalesce.is_zero() {
                if let Some(delivered) = delivered {
                    gather(&mut inbox, &mut batch, delivered + coalesce).await;
                }
                delivered = Some(tokio::time::Instant::now());
            }
            let mut posts = batch.drain(..).peekable();
            while posts.peek().is_some() {
                let tallies = self.append(&mut posts);
                self.deliver().await;
                // Takes its place behind everyone who was just woken.
                yield_now().await;
                // They have written.
                drop(tallies);
            }
        }
    }

    /// Writes to each listener what waits for it, and wakes those that have more to do than to be
    /// written to. The others get their turn now and then.
    async fn deliver(&self) {
        let mut count = 0;
        loop {
            let due = self.hub.borrow_mut().next_runnable();
            let Some(reader) = due else { return };
            if !self.line(reader).is_some_and(|line| line.deliver()) {
                self.hub.borrow_mut().wake(reader);
            }
            count += 1;
            if count % DELIVERIES == 0 {
                yield_now().await;
            }
        }
    }

    fn line(&self, reader: SubscriberId) -> Option<Rc<dyn DirectWrite>> {
        self.seats.borrow().get(reader.index())?.as_ref()?.line.as_ref()?.upgrade()
    }

    /// Takes posts up to a number of bytes. Returns the spans of those that are recorded.
    fn append(
        self: &Rc<Self>,
        posts: &mut impl Iterator<Item = WorkerMessage>,
    ) -> Vec<Arc<BroadcastSpan>> {
        let mut tallies = Vec::new();
        let mut hub = self.hub.borrow_mut();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(post) = posts.next()
        {
            bytes += post.size();
            match post {
                WorkerMessage::Broadcast(broadcast, tally) => {
                    if let Some(tally) = tally {
                        tally.add(hub.subscribers_of(&broadcast.channel));
                        tallies.push(tally);
                    }
                    hub.append(broadcast);
                }
                WorkerMessage::Backfill(broadcast) => hub.backfill(broadcast),
                WorkerMessage::EpochStart(position) => hub.reset_epoch(position),
                WorkerMessage::Gap => {
                    for ConnectionSlot { client, .. } in self.seats.borrow().iter().flatten() {
                        client.missed.set(true);
                        hub.wake(client.reader);
                    }
                }
                WorkerMessage::Drain(period) => {
                    self.draining.set(true);
                    actix_rt::spawn(self.clone().drain(period));
                }
            }
        }
        hub.commit();
        tallies
    }

    /// Looks after every client from time to time: pings, deadlines, and how much waits for it.
    async fn sweep(self: Rc<Self>) {
        let ping = self.state.config.ping_interval.0;
        let period = (ping / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            for ConnectionSlot { client, .. } in self.seats.borrow().iter().flatten() {
                if let Some(order) = client.due(now, ping) {
                    client.give(&self, order);
                }
            }
            self.survey();
        }
    }

    /// Takes stock, for the metrics.
    fn survey(&self) {
        let hub = self.hub.borrow();
        let mut survey = WorkerSnapshot {
            channels: hub.channels(),
            subscriptions: hub.subscriptions(),
            history: hub.history_bytes(),
            ..WorkerSnapshot::default()
        };
        let much = self.state.config.client_backlog.0 as u64 / 2;
        for ConnectionSlot { client, .. } in self.seats.borrow().iter().flatten() {
            let backlog = hub.live_lag(client.reader);
            survey.backlog = survey.backlog.max(backlog);
            survey.slow += usize::from(backlog > much);
        }
        self.thread.set_snapshot(survey);
    }

    /// Closes all clients, evenly over `period` and in no order.
    async fn drain(self: Rc<Self>, period: Duration) {
        let mut clients: Vec<_> =
            self.seats.borrow().iter().flatten().map(|seat| Rc::downgrade(&seat.client)).collect();
        fastrand::shuffle(&mut clients);
        let start = tokio::time::Instant::now();
        let slice = period.div_f64(clients.len().max(1) as f64);
        for (place, client) in clients.iter().enumerate() {
            sleep_until(start + slice.mul_f64(place as f64 + fastrand::f64())).await;
            if let Some(client) = client.upgrade() {
                client.give(
                    &self,
                    ConnectionCommand::Close(CloseReason::Restart, Some(self.retry_hint())),
                );
            }
        }
    }

    /// A pause in milliseconds after which a client may return. Closing is spread over the drain
    /// period; where that is short, the hints do the spreading.
    fn retry_hint(&self) -> u32 {
        let spread = self.state.config.drain_period.as_millis().min(10_000) as u32;
        let spread = if spread < 1000 { 5000 } else { spread / 4 };
        fastrand::u32(100..100 + spread)
    }
}

/// Takes what else is posted until `deadline`, as far as it is little enough to be written at once.
async fn gather(
    inbox: &mut mpsc::Receiver<WorkerMessage>,
    batch: &mut Vec<WorkerMessage>,
    deadline: tokio::time::Instant,
) {
    let mut bytes: usize = batch.iter().map(WorkerMessage::size).sum();
    let mut count = batch.len();
    while bytes < BATCH_BYTES
        && timeout_at(deadline, inbox.recv_many(batch, BATCH)).await.is_ok_and(|more| more > 0)
    {
        bytes += batch[count..].iter().map(WorkerMessage::size).sum::<usize>();
        count = batch.len();
    }
}
