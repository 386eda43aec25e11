use super::super::direct_write::DirectWriteResult::{Done, TaskNeeded};
use super::super::handle::{ConnectionHandle, KeepAlive};
use super::super::write_queue::HubSource;
use super::*;
use std::borrow::Cow;
use std::cell::Cell;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use warren_hub::{Hub, HubLimits, ReadFrom, SubscriberId};
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;
use warren_protocol::websocket::{Inflater, Window, text_frame};

/// Echoes texts, and writes another text whenever its task runs.
struct EchoHandler {
    handle: ConnectionHandle,
    extra_text: Option<&'static str>,
    /// Answers owed. Each refused text takes one off.
    owed_answers: Cell<u32>,
}

impl EchoHandler {
    fn new() -> Self {
        let handle = ConnectionHandle::new(KeepAlive::Pings);
        Self { handle, extra_text: None, owed_answers: Cell::new(0) }
    }

    /// A handler whose connection has a pending command.
    fn commanded(command: ConnectionCommand) -> Self {
        let handler = Self::new();
        handler.handle.set_command(command);
        handler
    }
}

impl MessageHandler for EchoHandler {
    fn handle(&self) -> &ConnectionHandle {
        &self.handle
    }

    fn read_limits(&self) -> ReadLimits<'_> {
        ReadLimits { max_message: 64, binary: false, inflater: None }
    }

    fn poll(&mut self, _: &mut Context<'_>, queue: &mut WriteQueue) -> Result<(), CloseReason> {
        if let Some(text) = self.extra_text {
            queue.push(text_frame(text));
        }
        Ok(())
    }

    fn text(&mut self, text: Cow<'_, str>, queue: &mut WriteQueue) {
        queue.push(text_frame(&text));
    }

    fn refuse_text(&mut self, _: Cow<'_, str>, queue: &mut WriteQueue) {
        self.owed_answers.set(self.owed_answers.get().saturating_sub(1));
        queue.push(text_frame("too late"));
    }

    fn is_settled(&self) -> bool {
        self.owed_answers.get() == 0
    }
}

/// A client frame whose mask changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// Serves a client that has sent `read_ahead` with its handshake. Both run in tasks of their own.
async fn serve<C: AsyncFnOnce(&mut DuplexStream)>(
    read_ahead: &[u8],
    handler: EchoHandler,
    client: C,
) {
    let (ours, mut theirs) = duplex(1024);
    let buffer = Rc::new(RefCell::new(vec![0; 1024]));
    let connection =
        Connection::new(ours, buffer, read_ahead.into(), WriteQueue::default(), handler);
    let both = async {
        let connection = spawn_local(connection);
        client(&mut theirs).await;
        drop(theirs);
        connection.await.unwrap();
    };
    timeout(Duration::from_secs(10), LocalSet::new().run_until(both)).await.expect("an end");
}

#[tokio::test]
async fn client_that_does_not_read_is_read_later() {
    const MESSAGES: usize = 5000;
    serve(b"", EchoHandler::new(), async |client| {
        let (mut read, mut write) = tokio::io::split(client);
        let mut echoes = vec![0; text_frame("x").len() * MESSAGES];
        let all = frame(0x81, b"x").repeat(MESSAGES);
        let (sent, got) = tokio::join!(write.write_all(&all), read.read_exact(&mut echoes));
        sent.unwrap();
        got.unwrap();
    })
    .await;
}

#[tokio::test]
async fn nothing_follows_the_close_frame() {
    let command = ConnectionCommand::Close(CloseReason::TooSlow);
    let handler = EchoHandler { extra_text: Some("late"), ..EchoHandler::commanded(command) };
    serve(b"", handler, async |client| {
        let expected = [text_frame("late"), close_frame(CloseReason::TooSlow, None, None)].concat();
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected);
        client.write_all(&frame(0x89, b"ping")).await.unwrap();
        client.write_all(&frame(0x88, b"\x03\xe8")).await.unwrap();
        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"");
    })
    .await;
}

#[tokio::test]
async fn close_frames_that_cross_end_the_connection() {
    let command = ConnectionCommand::Close(CloseReason::TooSlow);
    serve(&frame(0x88, b"\x03\xe8"), EchoHandler::commanded(command), async |client| {
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, close_frame(CloseReason::TooSlow, None, None));
    })
    .await;
}

#[tokio::test]
async fn drain_waits_for_owed_answers_and_refuses_new_texts() {
    let command = ConnectionCommand::Drain { retry_hint_ms: 7 };
    let handler = EchoHandler { owed_answers: Cell::new(2), ..EchoHandler::commanded(command) };
    serve(b"", handler, async |client| {
        let too_late = text_frame("too late");
        let mut got = vec![0; too_late.len()];
        for _ in 0..2 {
            client.write_all(&frame(0x81, b"one more")).await.unwrap();
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(got, too_late);
        }
        let expected = close_frame(CloseReason::Restart, None, Some(7));
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected);
    })
    .await;
}

/// Counts texts, and receives the messages of the default channel of its hub.
struct CountingHandler {
    handle: ConnectionHandle,
    hub: RefCell<Hub>,
    subscriber: SubscriberId,
    inflater: RefCell<Inflater>,
    texts: usize,
}

impl CountingHandler {
    fn new() -> Self {
        let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 1 << 20 });
        let subscriber = hub.open();
        hub.subscribe(subscriber, &Channel::default(), ReadFrom::Last(0));
        Self {
            handle: ConnectionHandle::new(KeepAlive::Pings),
            hub: RefCell::new(hub),
            subscriber,
            inflater: RefCell::default(),
            texts: 0,
        }
    }
}

impl MessageHandler for CountingHandler {
    fn handle(&self) -> &ConnectionHandle {
        &self.handle
    }

    fn read_limits(&self) -> ReadLimits<'_> {
        ReadLimits { max_message: 1 << 16, binary: false, inflater: Some(&self.inflater) }
    }

    fn poll(&mut self, _: &mut Context<'_>, _: &mut WriteQueue) -> Result<(), CloseReason> {
        Ok(())
    }

    fn text(&mut self, _: Cow<'_, str>, _: &mut WriteQueue) {
        self.texts += 1;
    }

    fn source(&self) -> Option<HubSource<'_>> {
        Some(HubSource { hub: &self.hub, subscriber: self.subscriber })
    }
}

#[tokio::test]
async fn direct_writes_deliver_until_the_socket_is_full() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(listener.accept(), theirs);
    let ((ours, _), mut theirs) = (ours.unwrap(), theirs.unwrap());
    let buffer = Rc::new(RefCell::new(vec![0; 1024]));
    let (read_ahead, queue) = (BytesMut::new(), WriteQueue::default());
    let mut connection = Connection::new(ours, buffer, read_ahead, queue, CountingHandler::new());
    let publish = |connection: &mut Connection<_, CountingHandler>, frame: &str| {
        let message = EncodedMessage::of_frame(0, Channel::default(), frame);
        connection.handler.hub.borrow_mut().append(message);
    };
    let run = async |connection: &mut Connection<_, CountingHandler>| {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *connection).poll(context))).await
    };
    publish(&mut connection, "[one]");
    assert_eq!(connection.write_directly(), Done);
    let mut got = [0; 5];
    theirs.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"[one]");

    // More than the kernel takes.
    let long = "two".repeat(4 << 20);
    publish(&mut connection, &long);
    assert_eq!(connection.write_directly(), TaskNeeded, "the task is needed");
    assert!(run(&mut connection).await.is_pending());
    publish(&mut connection, "[three]");
    assert_eq!(connection.write_directly(), Done, "the task waits for the socket");
    let mut all = vec![0; long.len() + 7];
    let read = theirs.read_exact(&mut all);
    tokio::select! {
        // It must not end by itself.
        () = poll_fn(|context| Pin::new(&mut connection).poll(context)) => panic!("it ended"),
        read = read => read.map(drop).unwrap(),
    }
    assert!(all == [long.as_bytes(), b"[three]"].concat());

    publish(&mut connection, "[four]");
    assert_eq!(connection.write_directly(), Done);
    let mut got = [0; 6];
    theirs.read_exact(&mut got).await.unwrap();
    // Closes with a reset, which has arrived once the socket is readable.
    theirs.set_zero_linger().unwrap();
    drop(theirs);
    connection.io.readable().await.unwrap();
    publish(&mut connection, "[five]");
    assert_eq!(connection.write_directly(), TaskNeeded, "the task finds the socket lost");
    assert!(run(&mut connection).await.is_ready());
}

#[tokio::test]
async fn drain_answers_input_that_was_read_ahead() {
    const MESSAGES: usize = 200;
    let handler = EchoHandler::commanded(ConnectionCommand::Drain { retry_hint_ms: 1 });
    serve(&frame(0x81, b"x").repeat(MESSAGES), handler, async |client| {
        let mut all = Vec::new();
        let late = text_frame("too late").repeat(MESSAGES);
        while all.len() <= late.len() {
            assert_ne!(
                client.read_buf(&mut all).await.unwrap(),
                0,
                "closed before all texts are answered"
            );
        }
        assert!(
            all.starts_with(&late) && all[late.len()] == 0x88,
            "answers precede the close frame"
        );
    })
    .await;
}

#[tokio::test]
async fn large_input_is_handled_in_several_turns() {
    const MESSAGES: usize = 3000;
    let (ours, mut theirs) = duplex(1 << 20);
    let buffer = Rc::new(RefCell::new(vec![0; 64 << 10]));
    let all = frame(0x81, b"x").repeat(MESSAGES);
    let (read_ahead, rest) = all.split_at(all.len() / 2);
    theirs.write_all(rest).await.unwrap();
    let queue = WriteQueue::default();
    let mut connection =
        Connection::new(ours, buffer, read_ahead.into(), queue, CountingHandler::new());
    let mut turns = 0;
    while connection.handler.texts < MESSAGES {
        let before = connection.handler.texts;
        poll_fn(|context| Poll::Ready(Pin::new(&mut connection).poll(context).is_pending())).await;
        assert!(connection.handler.texts - before <= READ_BUDGET / MIN_MESSAGE_COST);
        turns += 1;
    }
    assert!(turns < 10, "{turns}");
    drop(theirs);
    (&mut connection).await;
    assert!(connection.read_ahead.capacity() == 0, "its memory is freed");
}

#[tokio::test]
async fn expensive_inflation_uses_up_a_turn() {
    let (ours, _theirs) = duplex(64);
    let buffer = Rc::new(RefCell::new(vec![0; 1024]));
    // Empty final blocks.
    let payload = [3, 0].repeat(8 << 10);
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let message = [&[0xc1, 0x80 | 126, high, low, 0, 0, 0, 0][..], &payload].concat();
    let read_ahead = BytesMut::from(&message.repeat(3)[..]);
    let queue = WriteQueue::new(Window::FULL);
    let mut connection = Connection::new(ours, buffer, read_ahead, queue, CountingHandler::new());
    for turn in 1..=3 {
        poll_fn(|context| Poll::Ready(Pin::new(&mut connection).poll(context).is_pending())).await;
        assert_eq!(connection.handler.texts, turn);
    }
}
