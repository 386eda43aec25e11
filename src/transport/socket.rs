//! A client's socket while it speaks HTTP: who sends requests in small pieces for ever does not keep it.
//!
//! actix limits how long the first head of a connection may take, but none behind it.

use actix_rt::net::{ActixStream, Ready, TcpStream};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
#[derive(Debug)]
pub struct HttpSocket {
    io: TcpStream,
    /// When it was accepted, or something was written last.
    answered: Instant,
    /// How long bytes may come that lead to no answer.
    patience: Duration,
}

impl HttpSocket {
    pub fn new(io: TcpStream, patience: Duration) -> Self {
        Self { io, answered: Instant::now(), patience }
    }

    pub fn into_inner(self) -> TcpStream {
        self.io
    }

    fn wrote(&mut self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        self.answered = Instant::now();
        Poll::Ready(written)
    }
}

impl AsyncRead for HttpSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        // Who sends nothing is told by others that it is over.
        Poll::Ready(if this.answered.elapsed() > this.patience {
            Err(ErrorKind::TimedOut.into())
        } else {
            Ok(())
        })
    }
}

impl AsyncWrite for HttpSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(context, bytes));
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(context, slices));
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

impl ActixStream for HttpSocket {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.io, context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.io, context)
    }
}
