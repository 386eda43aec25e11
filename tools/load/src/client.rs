//! One client, from its ready frame to the end of its connection.

use crate::run::Run;
use futures_util::{Sink, Stream};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use warren_client::websocket::{CloseFrame, Error, Message, WebSocket};

/// The close code of a connection that ends without a close frame, as in browsers.
const ABNORMAL: u16 = 1006;
/// The close code of a close frame without one, as in browsers.
const NO_CODE: u16 = 1005;
/// The close code of clients that leave.
const NORMAL: u16 = 1000;

/// The commands that a publisher sends.
pub(crate) type Commands = mpsc::Receiver<String>;

struct Client<'a> {
    number: usize,
    socket: WebSocket,
    /// `None` for those who only listen.
    commands: Option<Commands>,
    /// Whether frames are buffered that the socket may not have.
    unflushed: bool,
    run: &'a Run,
}

/// Serves a client until its connection ends, or until the run ends.
pub(crate) async fn serve(
    number: usize,
    socket: WebSocket,
    commands: Option<Commands>,
    run: Rc<Run>,
) {
    let mut client = Client { number, socket, commands, unflushed: false, run: &run };
    let mut leave = pin!(run.leave.notified());
    let mut leaving = false;
    let code = poll_fn(|cx| {
        if !leaving && leave.as_mut().poll(cx).is_ready() {
            leaving = true;
            client.say_goodbye();
        }
        client.poll(cx)
    });
    let code = code.await;
    if !leaving {
        run.connection_closed(number, code);
    }
}

impl Client<'_> {
    /// Queues a close frame behind what is already queued.
    fn say_goodbye(&mut self) {
        self.commands = None;
        let frame = CloseFrame { code: NORMAL.into(), reason: "".into() };
        // If the connection has failed, reading reports it.
        let _ = Pin::new(&mut self.socket).start_send(Message::Close(Some(frame)));
        self.unflushed = true;
    }

    /// Ready with a close code when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u16> {
        loop {
            if self.write(cx).is_err() {
                return Poll::Ready(ABNORMAL);
            }
            let message = ready!(Pin::new(&mut self.socket).poll_next(cx));
            match message {
                Some(Ok(Message::Text(text))) => {
                    self.run.frame_received(self.number, text.as_bytes(), self.run.now());
                }
                Some(Ok(Message::Close(frame))) => {
                    // tungstenite has queued the answer.
                    let _ = Pin::new(&mut self.socket).poll_flush(cx);
                    return Poll::Ready(frame.map_or(NO_CODE, |frame| frame.code.into()));
                }
                // tungstenite answers pings when it is polled next.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(ABNORMAL),
            }
        }
    }

    /// Writes the commands that wait, as far as the socket takes them.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut socket = Pin::new(&mut self.socket);
        while let Some(commands) = &mut self.commands
            && let Poll::Ready(ready) = socket.as_mut().poll_ready(cx)
        {
            ready?;
            let Poll::Ready(Some(command)) = commands.poll_recv(cx) else { break };
            socket.as_mut().start_send(Message::text(command))?;
            self.unflushed = true;
        }
        if self.unflushed && socket.poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }
}
