//! The bare loops: what a server cannot do without, and nothing else.

use crate::dialect::{self, Dialect};
use crate::{Outcome, server};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{SocketFlags, accept_with};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Makes this program the loop of one `send(2)` for each message and client; the number of clients
/// follows.
pub const ARGUMENT: &str = "bare";
/// Makes this program the loop that lets everyone in.
pub const ACCEPT: &str = "bare-accept";

/// Does as it is told by the arguments.
pub fn serve(argument: &str) -> Outcome {
    if argument == ACCEPT { accept() } else { send() }
}

/// Accepts, has epoll watch, reads the request, and sends an answer with a greeting, for ever.
fn accept() -> Outcome {
    const NEWCOMER: u64 = u64::MAX;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    listener.set_nonblocking(true)?;
    server::raise_file_limit()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch = |socket: &dyn std::os::fd::AsFd, number| {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, socket.as_fd(), epoll::EventData::new_u64(number), flags)
    };
    watch(&listener, NEWCOMER)?;
    let answer = dialect::answer();
    let mut sockets: Vec<TcpStream> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let number = event.data.u64();
            if number == NEWCOMER {
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

/// Accepts its clients, and serves until the first of them hangs up; again and again. It is told to by
/// that one, as Warren is: each message that comes is a frame to everyone.
fn send() -> Outcome {
    let clients = std::env::args().nth(2).unwrap_or_default().parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    server::raise_file_limit()?;
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
        let mut got = 0;
        while let Ok(bytes @ 1..) = sockets[0].read(&mut buffer) {
            got += bytes;
            while got >= size {
                got -= size;
                for socket in &mut sockets {
                    socket.write_all(&frame)?;
                }
            }
        }
    }
}
