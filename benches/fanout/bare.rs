//! The bare loop: one `send(2)` for each message and client, and nothing else.
//!
//! It is told to by its first client, as Warren is: each message that comes is a frame to everyone.

use crate::{Outcome, client, server};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

/// Makes this program the bare loop; the number of clients follows.
pub const ARGUMENT: &str = "bare";

/// Prints its port, accepts its clients, and serves until the first of them hangs up.
pub fn serve() -> Outcome {
    let clients = std::env::args().nth(2).unwrap_or_default().parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    server::raise_file_limit()?;
    let mut sockets = Vec::with_capacity(clients);
    for _ in 0..clients {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let frame = client::delivery();
    let size = client::message().len();
    let mut buffer = vec![0; 64 << 10];
    let mut got = 0;
    loop {
        match sockets[0].read(&mut buffer)? {
            0 => return Ok(()),
            bytes => got += bytes,
        }
        while got >= size {
            got -= size;
            for socket in &mut sockets {
                socket.write_all(&frame)?;
            }
        }
    }
}
