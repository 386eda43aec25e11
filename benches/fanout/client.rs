//! The load: many connections in one thread, which counts frames by their headers and reads no more.

use crate::frames::{Frames, TEXT_FRAME};
use crate::{Outcome, TEXT, handshake, server};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Silence after which something must be wrong.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const EVENTS: usize = 1024;
const BUFFER: usize = 64 << 10;

/// Connections to one server.
pub struct Crowd {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    frames: Frames,
    /// What came of the answer to its handshake.
    answer: Vec<u8>,
    /// Messages that came in the present [`Crowd::broadcast`].
    got: usize,
}

impl Crowd {
    /// WebSockets, each of which listens to the channel with its number's name.
    pub fn listeners(
        address: SocketAddr,
        count: usize,
        channel: impl Fn(usize) -> String,
    ) -> Outcome<Self> {
        Self::gather(address, count, 1, |number| Some(handshake::request(&channel(number))))
    }

    /// WebSockets of one channel, with so many of them on their way in at any time.
    pub fn newcomers(address: SocketAddr, count: usize, at_once: usize) -> Outcome<Self> {
        let request = handshake::request("lobby");
        Self::gather(address, count, at_once, |_| Some(request.clone()))
    }

    /// Sockets of a server that speaks first.
    pub fn strangers(address: SocketAddr, count: usize) -> Outcome<Self> {
        Self::gather(address, count, 1, |_| None)
    }

    fn gather(
        address: SocketAddr,
        count: usize,
        at_once: usize,
        request: impl Fn(usize) -> Option<String>,
    ) -> Outcome<Self> {
        let mut crowd = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            clients: Vec::with_capacity(count),
            buffer: vec![0; BUFFER],
        };
        let mut open = 0;
        while open < count {
            while crowd.len() < count.min(open + at_once) {
                open += crowd.connect(address, request(crowd.len()))?;
            }
            if open < crowd.len() {
                crowd.receive(|client, bytes| {
                    client.answer.extend_from_slice(bytes);
                    if handshake::is_complete(&client.answer)? {
                        client.answer = Vec::new();
                        open += 1;
                    }
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
        let listeners = self.clients.len();
        let message = message();
        // For each message on its way, the clients that do not have it yet.
        let mut missing = VecDeque::from(vec![listeners; window]);
        let mut complete = 0;
        for client in &mut self.clients {
            client.got = 0;
        }
        self.say(0, &message.repeat(window))?;
        while !missing.is_empty() {
            let before = complete;
            self.receive(|client, bytes| {
                let frames = client.frames.count(bytes)?;
                for place in client.got..client.got + frames {
                    missing[place - complete] -= 1;
                }
                client.got += frames;
                while missing.front() == Some(&0) {
                    missing.pop_front();
                    complete += 1;
                }
                Ok(())
            })?;
            if complete > before && (complete < least || start.elapsed() < time) {
                missing.resize(missing.len() + complete - before, listeners);
                self.say(0, &message.repeat(complete - before))?;
            }
        }
        Ok(complete * listeners)
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
        let message = message();
        let mut heard = 0;
        while start.elapsed() < time {
            self.say(heard % speakers, &message)?;
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

    fn say(&mut self, client: usize, messages: &[u8]) -> Outcome {
        Ok(self.clients[client].stream.write_all(messages)?)
    }

    /// Waits for what comes next, and tells whom it came to.
    fn receive(&mut self, mut arrived: impl FnMut(&mut Client, &[u8]) -> Outcome) -> Outcome {
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&PATIENCE))?;
        if self.events.is_empty() {
            return Err("the server has fallen silent".into());
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

/// A message as a client sends it: masked, by zeros.
pub fn message() -> Vec<u8> {
    let length = (TEXT as u16).to_be_bytes();
    let mut frame = vec![TEXT_FRAME, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
    frame.resize(frame.len() + TEXT, b'x');
    frame
}

/// The same message as clients get it.
pub fn delivery() -> Vec<u8> {
    let payload = format!(
        r#"{{"id":"01234567-1000","channel":"lobby","text":"{}","date":"2026-01-02T03:04:05.678Z"}}"#,
        "x".repeat(TEXT)
    );
    let length = (payload.len() as u16).to_be_bytes();
    let mut frame = vec![TEXT_FRAME, 126, length[0], length[1]];
    frame.extend_from_slice(payload.as_bytes());
    frame
}
