//! The load: many connections in one thread, which counts frames by their headers and reads no more.

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

/// Silence after which something must be wrong.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const EVENTS: usize = 1024;
const BUFFER: usize = 64 << 10;
/// The longest latency that is told from others, in microseconds, and the digits that are kept.
const LATENCY: (u64, u8) = (60_000_000, 2);

/// Connections to one server.
pub struct Crowd {
    dialect: Dialect,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Vec<Client>,
    /// Where messages are said, if not by the first client.
    speaker: Option<TcpStream>,
    buffer: Vec<u8>,
    /// From saying to each delivery, in microseconds.
    latency: Histogram<u32>,
}

struct Client {
    stream: TcpStream,
    frames: Frames,
    /// What came of the answer to its handshake.
    answer: Vec<u8>,
    /// Messages that came in the present [`Crowd::broadcast`].
    got: usize,
}

/// A message on its way.
#[derive(Clone)]
struct Message {
    said: Instant,
    /// Clients that do not have it yet.
    missing: usize,
}

impl Crowd {
    /// WebSockets, each of which listens to the channel with its number's name.
    pub fn listeners(
        address: SocketAddr,
        count: usize,
        channel: impl Fn(usize) -> String,
    ) -> Outcome<Self> {
        Self::gather(address, Dialect::Warren, count, 1, channel)
    }

    /// Sockets of a server that speaks first.
    pub fn strangers(address: SocketAddr, count: usize) -> Outcome<Self> {
        Self::gather(address, Dialect::Bare, count, 1, |_| String::new())
    }

    /// Clients of one channel, with so many of them on their way in at any time.
    pub fn newcomers(
        address: SocketAddr,
        dialect: Dialect,
        count: usize,
        at_once: usize,
    ) -> Outcome<Self> {
        Self::gather(address, dialect, count, at_once, |_| "lobby".to_owned())
    }

    fn gather(
        address: SocketAddr,
        dialect: Dialect,
        count: usize,
        at_once: usize,
        channel: impl Fn(usize) -> String,
    ) -> Outcome<Self> {
        let speaker = dialect.is_said_by_http().then(|| TcpStream::connect(address)).transpose()?;
        if let Some(speaker) = &speaker {
            speaker.set_nodelay(true)?;
            speaker.set_nonblocking(true)?;
        }
        let mut crowd = Self {
            dialect,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            clients: Vec::with_capacity(count),
            speaker,
            buffer: vec![0; BUFFER],
            latency: Histogram::new_with_bounds(1, LATENCY.0, LATENCY.1)?,
        };
        let mut open = 0;
        while open < count {
            while crowd.len() < count.min(open + at_once) {
                open += crowd.connect(address, dialect.request(&channel(crowd.len())))?;
            }
            if open < crowd.len() {
                crowd.receive(|client, bytes| {
                    client.answer.extend_from_slice(bytes);
                    match dialect.progress(&client.answer)? {
                        Progress::Wait => return Ok(()),
                        Progress::Say(next) => client.stream.write_all(&next)?,
                        Progress::Ready => open += 1,
                    }
                    client.answer = Vec::new();
                    Ok(())
                })?;
            }
        }
        Ok(crowd)
    }

    /// One more client; 1 if it is ready to listen at once, else 0.
    fn connect(&mut self, address: SocketAddr, request: Option<String>) -> Outcome<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // Told once of what comes, so that one read is all it takes.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(self.len() as u64), flags)?;
        let ready = usize::from(request.is_none());
        stream.write_all(request.unwrap_or_default().as_bytes())?;
        let (frames, answer) = (Frames::default(), Vec::new());
        self.clients.push(Client { stream, frames, answer, got: 0 });
        Ok(ready)
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Has the first client speak to all for `time` and at least `least` messages, with `window` of
    /// them on their way: when everyone has one, the next is sent. The number of deliveries.
    pub fn broadcast(&mut self, window: usize, least: usize, time: Duration) -> Outcome<usize> {
        let start = Instant::now();
        let (dialect, listeners) = (self.dialect, self.clients.len());
        let said_now = || Message { said: Instant::now(), missing: listeners };
        let mut latency = self.latency.clone();
        let mut underway = VecDeque::from(vec![said_now(); window]);
        let mut complete = 0;
        for client in &mut self.clients {
            client.got = 0;
        }
        self.say(0, window)?;
        while !underway.is_empty() {
            let before = complete;
            self.receive(|client, bytes| {
                let frames = client.frames.count(bytes)?;
                if let Some(pongs) = dialect.pongs(&mut client.frames)? {
                    client.stream.write_all(&pongs)?;
                }
                let now = Instant::now();
                for place in client.got..client.got + frames {
                    let message = &mut underway[place - complete];
                    message.missing -= 1;
                    latency.saturating_record((now - message.said).as_micros() as u64);
                }
                client.got += frames;
                while underway.front().is_some_and(|message| message.missing == 0) {
                    underway.pop_front();
                    complete += 1;
                }
                Ok(())
            })?;
            let room = complete - before;
            if room > 0 && (complete < least || start.elapsed() < time) {
                underway.extend(std::iter::repeat_n(said_now(), room));
                self.say(0, room)?;
            }
        }
        self.latency = latency;
        Ok(complete * listeners)
    }

    /// How long deliveries took since this was last asked for.
    pub fn latency(&mut self) -> Histogram<u32> {
        let taken = self.latency.clone();
        self.latency.reset();
        taken
    }

    /// Has the first client speak to all `rate` times a second for `time`. The number of deliveries.
    pub fn paced(&mut self, rate: u32, time: Duration) -> Outcome<usize> {
        let (start, mut said) = (Instant::now(), 0);
        let mut deliveries = 0;
        while start.elapsed() < time {
            deliveries += self.broadcast(1, 1, Duration::ZERO)?;
            said += 1;
            let next = Duration::from_secs(1) * said / rate;
            server::pause(next.saturating_sub(start.elapsed()));
        }
        Ok(deliveries)
    }

    /// Has the first `speakers` clients speak in turn for `time`, each in a channel of its own: when
    /// one has heard itself, the next speaks. The number of deliveries.
    pub fn in_turn(&mut self, speakers: usize, time: Duration) -> Outcome<usize> {
        let start = Instant::now();
        let mut heard = 0;
        while start.elapsed() < time {
            self.say(heard % speakers, 1)?;
            let before = heard;
            while heard == before {
                self.receive(|client, bytes| {
                    heard += client.frames.count(bytes)?;
                    Ok(())
                })?;
            }
        }
        Ok(heard)
    }

    fn say(&mut self, client: usize, times: usize) -> Outcome {
        let messages = self.dialect.message().repeat(times);
        let Some(speaker) = &mut self.speaker else {
            return Ok(self.clients[client].stream.write_all(&messages)?);
        };
        // What it was answered is not of interest: the deliveries are.
        while speaker.read(&mut self.buffer).is_ok_and(|size| size == BUFFER) {}
        Ok(speaker.write_all(&messages)?)
    }

    /// Waits for what comes next, and tells whom it came to.
    fn receive(&mut self, mut arrived: impl FnMut(&mut Client, &[u8]) -> Outcome) -> Outcome {
        self.events.clear();
        // Twice: the first time may be over because this process was stopped itself.
        for _ in 0..2 {
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                ended => {
                    ended?;
                    break;
                }
            }
        }
        if self.events.is_empty() {
            return Err(format!("a server that speaks {:?} has fallen silent", self.dialect).into());
        }
        for event in &self.events {
            let client = &mut self.clients[event.data.u64() as usize];
            loop {
                let size = match client.stream.read(&mut self.buffer) {
                    Ok(0) => return Err("the server hung up".into()),
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
