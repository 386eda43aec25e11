//! Bare loops that do only what no server can avoid: the references of the benchmarks.

use crate::dialect::{self, Dialect};
use crate::{Outcome, file_limit};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{SocketFlags, accept_with};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Argument that runs the loop of one `send(2)` per message and client. The number of clients follows.
pub const ARGUMENT: &str = "bare";
/// Argument that runs the accept loop.
pub const ACCEPT: &str = "bare-accept";

/// Runs the loop that the argument names.
pub fn serve(argument: &str) -> Outcome {
    if argument == ACCEPT { accept() } else { send() }
}

/// Accepts connections, reads their requests, and sends a response with a greeting.
fn accept() -> Outcome {
    const LISTENER: u64 = u64::MAX;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    listener.set_nonblocking(true)?;
    file_limit::raise_file_limit()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch = |socket: &dyn std::os::fd::AsFd, number| {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, socket.as_fd(), epoll::EventData::new_u64(number), flags)
    };
    watch(&listener, LISTENER)?;
    let answer = dialect::answer();
    let mut sockets: Vec<TcpStream> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                while let Ok(socket) =
                    accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
                {
                    let socket = TcpStream::from(socket);
                    socket.set_nodelay(true)?;
                    watch(&socket, sockets.len() as u64)?;
                    sockets.push(socket);
                }
                continue;
            }
            let socket = &mut sockets[number as usize];
            match socket.read(&mut buffer) {
                Ok(size) if buffer[..size].ends_with(b"\r\n\r\n") => socket.write_all(&answer)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return Ok(()),
            }
        }
    }
}

/// Accepts its clients and serves until the first of them disconnects; repeatedly. Each message of the first
/// client is one frame to every client.
fn send() -> Outcome {
    let clients = std::env::args().nth(2).unwrap_or_default().parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    file_limit::raise_file_limit()?;
    let frame = dialect::delivery();
    let size = Dialect::Bare.message().len();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut sockets = Vec::with_capacity(clients);
        for _ in 0..clients {
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        let mut pending = 0;
        while let Ok(bytes @ 1..) = sockets[0].read(&mut buffer) {
            pending += bytes;
            while pending >= size {
                pending -= size;
                for socket in &mut sockets {
                    socket.write_all(&frame)?;
                }
            }
        }
    }
}
