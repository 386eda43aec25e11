//! A way to a server that can be cut, slowed down or stopped, in both directions or in one.

use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What a way lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    All,
    /// Connections stay, and nothing passes: packets are lost, and nobody is told.
    Nothing,
    /// What the client sends, and no answers.
    OnlyUp,
    /// What the server sends, and nothing that it would answer.
    OnlyDown,
    /// So many bytes a second, each way of each connection.
    Slowly(usize),
    /// Connections are reset, and so are new ones.
    Cut,
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Passing {
    fn lets(self, direction: Direction) -> bool {
        match self {
            Self::All | Self::Slowly(_) => true,
            Self::Nothing | Self::Cut => false,
            Self::OnlyUp => matches!(direction, Direction::Up),
            Self::OnlyDown => matches!(direction, Direction::Down),
        }
    }
}

pub struct Proxy {
    pub addr: SocketAddr,
    passing: Arc<watch::Sender<Passing>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A way to this loopback port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let passing = Arc::new(watch::Sender::new(Passing::All));
        let task = tokio::spawn(serve(listener, port, passing.clone()));
        Self { addr, passing, task }
    }

    /// From now on.
    pub fn lets(&self, passing: Passing) {
        self.passing.send_replace(passing);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, port: u16, passing: Arc<watch::Sender<Passing>>) {
    while let Ok((client, _)) = listener.accept().await {
        let passing = passing.subscribe();
        tokio::spawn(async move {
            if *passing.borrow() == Passing::Cut {
                return reset(&client);
            }
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            join(client, server, passing).await;
        });
    }
}

/// Passes on what comes, until one side ends or the way is cut.
async fn join(mut client: TcpStream, mut server: TcpStream, passing: watch::Receiver<Passing>) {
    let mut cut = passing.clone();
    let ended = {
        let ((mut up, mut down), (mut from, mut to)) = (client.split(), server.split());
        tokio::select! {
            _ = pass(&mut up, &mut to, passing.clone(), Direction::Up) => true,
            _ = pass(&mut from, &mut down, passing.clone(), Direction::Down) => true,
            _ = cut.wait_for(|passing| *passing == Passing::Cut) => false,
        }
    };
    if !ended {
        reset(&client);
        reset(&server);
    }
}

/// Has the socket say, when it is dropped, that the connection is broken.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut passing: watch::Receiver<Passing>,
    direction: Direction,
) -> io::Result<()> {
    /// Pieces in which a slow way passes on what it passes in a second.
    const PIECES: usize = 20;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        let mut rest = &buffer[..read];
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let Ok(now) = passing.wait_for(|passing| passing.lets(direction)).await.map(|now| *now)
            else {
                return Ok(());
            };
            let mut length = rest.len();
            if let Passing::Slowly(rate) = now {
                length = length.min(rate.div_ceil(PIECES));
                sleep(Duration::from_secs(1) / PIECES as u32).await;
            }
            let (piece, more) = rest.split_at(length);
            to.write_all(piece).await?;
            rest = more;
        }
    }
}
