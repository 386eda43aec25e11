//! The head of the handshake's response, apart from what follows it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that ends, for its reader, with the head of the response.
///
/// tungstenite would read on and keep what it read when it refuses the response. This way the body of a
/// refusal can still be read from the connection.
pub(super) struct HeadReader<'a, S> {
    stream: &'a mut S,
    received: Vec<u8>,
    /// Bytes of `received` that the reader has.
    handed_out: usize,
    /// Length of the head, once its end has been received.
    head_len: Option<usize>,
}

impl<'a, S> HeadReader<'a, S> {
    pub(super) fn new(stream: &'a mut S) -> Self {
        Self { stream, received: Vec::new(), handed_out: 0, head_len: None }
    }

    /// The bytes received after the head; `None` if the head has not ended.
    pub(super) fn into_rest(mut self) -> Option<Vec<u8>> {
        Some(self.received.split_off(self.head_len?))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadReader<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head_len.is_none() && this.handed_out == this.received.len() {
            let mut chunk = [0; 1024];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut *this.stream).poll_read(cx, &mut read))?;
            this.received.extend_from_slice(read.filled());
            // The end may have begun in an earlier chunk.
            let from = this.handed_out.saturating_sub(3);
            let end = this.received[from..].windows(4).position(|end| end == b"\r\n\r\n");
            this.head_len = end.map(|end| from + end + 4);
        }
        let end = this.head_len.unwrap_or(this.received.len());
        let next = &this.received[this.handed_out.min(end)..end];
        let next = &next[..next.len().min(buffer.remaining())];
        buffer.put_slice(next);
        this.handed_out += next.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadReader<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
