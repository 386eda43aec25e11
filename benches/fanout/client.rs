//! Load of the benchmarks: many connections in one thread that counts frames by their headers. It does not
//! decode messages, so that its cost is low and the same for every server.

use crate::dialect::{Dialect, Progress};
use crate::frames::Frames;
use crate::{Outcome, server};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Time without any delivery after which the benchmark fails.
const TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const EVENTS: usize = 1024;
const BUFFER: usize = 64 << 10;
/// Largest recorded latency in microseconds, and significant digits.
const LATENCY: (u64, u8) = (60_000_000, 2);

/// Connections to one server.
pub struct ClientPool {
    dialect: Dialect,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Vec<Client>,
    /// Connection to publish on, if it is not that of the first client.
    publisher: Option<TcpStream>,
    buffer: Vec<u8>,
    /// Time from publishing to each delivery, in microseconds.
    latency: Histogram<u32>,
}

struct Client {
    stream: TcpStream,
    frames: Frames,
    /// Response to the handshake so far.
    answer: Vec<u8>,
    /// Messages received in the current [`ClientPool::broadcast`].
    received: usize,
}

/// A published message that is not delivered to all clients yet.
#[derive(Clone)]
struct Message {
    published: Instant,
    /// Clients that have not received it.
    missing: usize,
}

impl ClientPool {
    /// Connects WebSockets, each subscribed to the channel that `channel` names for its number.
    pub fn subscribers(
        address: SocketAddr,
        count: usize,
        channel: impl Fn(usize) -> String,
    ) -> Outcome<Self> {
        Self::connect_all(address, Dialect::Warren, count, 1, channel)
    }

    /// Connects to the bare loop, which has no handshake.
    pub fn bare(address: SocketAddr, count: usize) -> Outcome<Self> {
        Self::connect_all(address, Dialect::Bare, count, 1, |_| String::new())
    }

    /// Connects clients of one channel, with at most `at_once` handshakes open at a time.
    pub fn arriving(
        address: SocketAddr,
        dialect: Dialect,
        count: usize,
        at_once: usize,
    ) -> Outcome<Self> {
        Self::connect_all(address, dialect, count, at_once, |_| "lobby".to_owned())
    }

    fn connect_all(
        address: SocketAddr,
        dialect: Dialect,
        count: usize,
        at_once: usize,
        channel: impl Fn(usize) -> String,
    ) -> Outcome<Self> {
        let publisher =
            dialect.publishes_by_http().then(|| TcpStream::connect(address)).transpose()?;
        if let Some(publisher) = &publisher {
            publisher.set_nodelay(true)?;
            publisher.set_nonblocking(true)?;
        }
        let mut pool = Self {
            dialect,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            clients: Vec::with_capacity(count),
            publisher,
            buffer: vec![0; BUFFER],
            latency: Histogram::new_with_bounds(1, LATENCY.0, LATENCY.1)?,
        };
        let mut open = 0;
        while open < count {
            while pool.len() < count.min(open + at_once) {
                open += pool.connect(address, dialect.request(&channel(pool.len())))?;
            }
            if open < pool.len() {
                pool.receive(|client, bytes| {
                    client.answer.extend_from_slice(bytes);
                    match dialect.progress(&client.answer)? {
                        Progress::Wait => return Ok(()),
                        Progress::Send(next) => client.stream.write_all(&next)?,
                        Progress::Ready => open += 1,
                    }
                    client.answer = Vec::new();
                    Ok(())
                })?;
            }
        }
        Ok(pool)
    }

    /// Connects one more client. Returns 1 if it is ready at once, else 0.
    fn connect(&mut self, address: SocketAddr, request: Option<String>) -> Outcome<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // Edge-triggered: one event and one read for everything that arrived.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(self.len() as u64), flags)?;
        let ready = usize::from(request.is_none());
        stream.write_all(request.unwrap_or_default().as_bytes())?;
        let (frames, answer) = (Frames::default(), Vec::new());
        self.clients.push(Client { stream, frames, answer, received: 0 });
        Ok(ready)
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Publishes on the first client for `time` and at least `min` messages, with `window` of them outstanding:
    /// when all clients have one, the next is published. Returns the number of deliveries.
    pub fn broadcast(&mut self, window: usize, min: usize, time: Duration) -> Outcome<usize> {
        let start = Instant::now();
        let (dialect, listeners) = (self.dialect, self.clients.len());
        let publish_now = || Message { published: Instant::now(), missing: listeners };
        let mut latency = self.latency.clone();
        let mut outstanding = VecDeque::from(vec![publish_now(); window]);
        let mut complete = 0;
        for client in &mut self.clients {
            client.received = 0;
        }
        self.publish(0, window)?;
        while !outstanding.is_empty() {
            let before = complete;
            self.receive(|client, bytes| {
                let frames = client.frames.count(bytes)?;
                if let Some(pongs) = dialect.pongs(&mut client.frames)? {
                    client.stream.write_all(&pongs)?;
                }
                let now = Instant::now();
                for place in client.received..client.received + frames {
                    let message = &mut outstanding[place - complete];
                    message.missing -= 1;
                    latency.saturating_record((now - message.published).as_micros() as u64);
                }
                client.received += frames;
                while outstanding.front().is_some_and(|message| message.missing == 0) {
                    outstanding.pop_front();
                    complete += 1;
                }
                Ok(())
            })?;
            let room = complete - before;
            if room > 0 && (complete < min || start.elapsed() < time) {
                outstanding.extend(std::iter::repeat_n(publish_now(), room));
                self.publish(0, room)?;
            }
        }
        self.latency = latency;
        Ok(complete * listeners)
    }

    /// Returns the latencies recorded since the last call.
    pub fn take_latency(&mut self) -> Histogram<u32> {
        let taken = self.latency.clone();
        self.latency.reset();
        taken
    }

    /// Publishes `rate` messages per second for `time`. Returns the number of deliveries.
    pub fn paced(&mut self, rate: u32, time: Duration) -> Outcome<usize> {
        let (start, mut published) = (Instant::now(), 0);
        let mut deliveries = 0;
        while start.elapsed() < time {
            deliveries += self.broadcast(1, 1, Duration::ZERO)?;
            published += 1;
            let next = Duration::from_secs(1) * published / rate;
            server::pause(next.saturating_sub(start.elapsed()));
        }
        Ok(deliveries)
    }

    /// Publishes on the first `publishers` clients in turn for `time`, each to a channel of its own: when one has
    /// received its message, the next publishes. Returns the number of deliveries.
    pub fn in_turn(&mut self, publishers: usize, time: Duration) -> Outcome<usize> {
        let start = Instant::now();
        let mut received = 0;
        while start.elapsed() < time {
            self.publish(received % publishers, 1)?;
            let before = received;
            while received == before {
                self.receive(|client, bytes| {
                    received += client.frames.count(bytes)?;
                    Ok(())
                })?;
            }
        }
        Ok(received)
    }

    fn publish(&mut self, client: usize, times: usize) -> Outcome {
        let messages = self.dialect.message().repeat(times);
        let Some(publisher) = &mut self.publisher else {
            return Ok(self.clients[client].stream.write_all(&messages)?);
        };
        // Responses are drained and ignored: only deliveries count.
        while publisher.read(&mut self.buffer).is_ok_and(|size| size == BUFFER) {}
        Ok(publisher.write_all(&messages)?)
    }

    /// Waits for data, and passes each piece to `arrived` with its client.
    fn receive(&mut self, mut arrived: impl FnMut(&mut Client, &[u8]) -> Outcome) -> Outcome {
        self.events.clear();
        // Twice: the first wait may time out because this process itself was stopped.
        for _ in 0..2 {
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&TIMEOUT)) {
                Ok(0) | Err(Errno::INTR) => {}
                ended => {
                    ended?;
                    break;
                }
            }
        }
        if self.events.is_empty() {
            return Err(
                format!("no delivery from the {:?} server within 10 s", self.dialect).into()
            );
        }
        for event in &self.events {
            let client = &mut self.clients[event.data.u64() as usize];
            loop {
                let size = match client.stream.read(&mut self.buffer) {
                    Ok(0) => return Err("the server closed a connection".into()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    read => read?,
                };
                arrived(client, &self.buffer[..size])?;
                if size < BUFFER {
                    break;
                }
            }
        }
        Ok(())
    }
}
