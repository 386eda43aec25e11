//! A TCP proxy whose connections can be cut, slowed down or stopped, in both directions or in one.

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

/// Traffic that a proxy passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    All,
    /// Nothing passes, and connections stay open: a black hole.
    Nothing,
    /// Bytes of the client, and no answers.
    OnlyUp,
    /// Bytes of the server, and nothing of the client.
    OnlyDown,
    /// So many bytes a second, in each direction of each connection.
    Slowly(usize),
    /// Nothing: open and new connections are reset.
    Cut,
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Traffic {
    fn passes(self, direction: Direction) -> bool {
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
    traffic: Arc<watch::Sender<Traffic>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to this loopback port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let traffic = Arc::new(watch::Sender::new(Traffic::All));
        let task = tokio::spawn(serve(listener, port, traffic.clone()));
        Self { addr, traffic, task }
    }

    /// Sets the traffic that passes from now on.
    pub fn set_traffic(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, port: u16, traffic: Arc<watch::Sender<Traffic>>) {
    while let Ok((client, _)) = listener.accept().await {
        let traffic = traffic.subscribe();
        tokio::spawn(async move {
            if *traffic.borrow() == Traffic::Cut {
                return reset(&client);
            }
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            join(client, server, traffic).await;
        });
    }
}

/// Passes bytes in both directions until one side ends or the proxy is cut.
async fn join(mut client: TcpStream, mut server: TcpStream, traffic: watch::Receiver<Traffic>) {
    let mut cut = traffic.clone();
    let ended = {
        let ((mut up, mut down), (mut from, mut to)) = (client.split(), server.split());
        tokio::select! {
            _ = pass(&mut up, &mut to, traffic.clone(), Direction::Up) => true,
            _ = pass(&mut from, &mut down, traffic.clone(), Direction::Down) => true,
            _ = cut.wait_for(|traffic| *traffic == Traffic::Cut) => false,
        }
    };
    if !ended {
        reset(&client);
        reset(&server);
    }
}

/// Makes the socket reset its connection when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut traffic: watch::Receiver<Traffic>,
    direction: Direction,
) -> io::Result<()> {
    /// Pieces in which a slow proxy passes the bytes of one second.
    const PIECES: usize = 20;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        let mut rest = &buffer[..read];
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let Ok(now) =
                traffic.wait_for(|traffic| traffic.passes(direction)).await.map(|now| *now)
            else {
                return Ok(());
            };
            let mut length = rest.len();
            if let Traffic::Slowly(rate) = now {
                length = length.min(rate.div_ceil(PIECES));
                sleep(Duration::from_secs(1) / PIECES as u32).await;
            }
            let (piece, more) = rest.split_at(length);
            to.write_all(piece).await?;
            rest = more;
        }
    }
}
