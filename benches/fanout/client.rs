//! The load: many connections in one thread, which counts frames by their headers and reads no more.

use crate::{Outcome, TEXT, server};
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
const TEXT_FRAME: u8 = 0x81;

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
        Self::gather(count, |number| {
            let mut stream = TcpStream::connect(address)?;
            shake_hands(&mut stream, &channel(number))?;
            Ok(stream)
        })
    }

    /// Sockets of a server that speaks first.
    pub fn strangers(address: SocketAddr, count: usize) -> Outcome<Self> {
        Self::gather(count, |_| Ok(TcpStream::connect(address)?))
    }

    fn gather(count: usize, connect: impl Fn(usize) -> Outcome<TcpStream>) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let stream = connect(number)?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            // Told once of what comes, so that one read is all it takes.
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), flags)?;
            clients.push(Client { stream, frames: Frames::default(), got: 0 });
        }
        let events = Vec::with_capacity(EVENTS);
        Ok(Self { epoll, events, clients, buffer: vec![0; BUFFER] })
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
            self.receive(|client, frames| {
                for place in client.got..client.got + frames {
                    missing[place - complete] -= 1;
                }
                client.got += frames;
                while missing.front() == Some(&0) {
                    missing.pop_front();
                    complete += 1;
                }
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
                self.receive(|_, frames| heard += frames)?;
            }
        }
        Ok(heard)
    }

    fn say(&mut self, client: usize, messages: &[u8]) -> Outcome {
        Ok(self.clients[client].stream.write_all(messages)?)
    }

    /// Waits for what comes next, and tells whom it came to and how many frames became complete.
    fn receive(&mut self, mut arrived: impl FnMut(&mut Client, usize)) -> Outcome {
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
                let frames = client.frames.count(&self.buffer[..size])?;
                arrived(client, frames);
                if size < BUFFER {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Finds the ends of messages in a stream of frames.
#[derive(Default)]
struct Frames {
    header: [u8; 4],
    have: usize,
    /// Payload bytes to pass over.
    left: usize,
}

impl Frames {
    /// How many messages end in `bytes`.
    fn count(&mut self, mut bytes: &[u8]) -> Outcome<usize> {
        let mut ended = 0;
        while let Some(first) = bytes.first() {
            if self.have < self.header.len() {
                self.header[self.have] = *first;
                self.have += 1;
                bytes = &bytes[1..];
                if self.have == self.header.len() {
                    let [kind, 126, high, low] = self.header else {
                        return Err("a frame that is no message".into());
                    };
                    self.left = usize::from(u16::from_be_bytes([high, low]));
                    if kind != TEXT_FRAME || self.left < TEXT {
                        return Err("a frame that is no message".into());
                    }
                }
                continue;
            }
            let size = self.left.min(bytes.len());
            bytes = &bytes[size..];
            self.left -= size;
            if self.left == 0 {
                self.have = 0;
                ended += 1;
            }
        }
        Ok(ended)
    }
}

/// Opens a WebSocket and reads its greeting, so that nothing is left to come.
fn shake_hands(stream: &mut TcpStream, channel: &str) -> Outcome {
    let request = format!(
        "GET /ws?channel={channel} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Err("the server hung up on a handshake".into()),
            size => answer.extend_from_slice(&buffer[..size]),
        }
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
        let Some(head) = head.map(|start| start + 4) else { continue };
        if !answer.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&answer).into());
        }
        // The greeting is short.
        if let [TEXT_FRAME, length, payload @ ..] = &answer[head..]
            && payload.len() == usize::from(*length)
        {
            return Ok(());
        }
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
