use super::*;
use std::cell::Cell;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use warren_hub::{Hub, HubLimits, ReadFrom, SubscriberId};
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;
use warren_protocol::websocket::{Inflater, text_frame};

/// Echoes, obeys one order, and says something whenever its task runs.
struct Parrot {
    order: Option<ConnectionCommand>,
    chatter: Option<&'static str>,
    /// Promises that are kept one by one, as it hears more.
    promises: Cell<u32>,
}

impl MessageHandler for Parrot {
    fn accept(&self) -> ReadLimits<'_> {
        ReadLimits { max_message: 64, binary: false, inflater: None }
    }

    fn poll(&mut self, _: &mut Context<'_>, output: &mut WriteQueue) {
        if let Some(text) = self.chatter {
            output.push(text_frame(text));
        }
    }

    fn text(&mut self, text: Cow<'_, str>, output: &mut WriteQueue) {
        output.push(text_frame(&text));
    }

    fn too_late(&mut self, _: Cow<'_, str>, output: &mut WriteQueue) {
        self.promises.set(self.promises.get().saturating_sub(1));
        output.push(text_frame("too late"));
    }

    fn settled(&self) -> bool {
        self.promises.get() == 0
    }

    fn take_order(&mut self) -> Option<ConnectionCommand> {
        self.order.take()
    }
}

/// A client frame whose mask changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// Serves a client that has sent `early` before anything else, each in a task of its own.
async fn serve<C: AsyncFnOnce(&mut DuplexStream)>(early: &[u8], parrot: Parrot, client: C) {
    let (ours, mut theirs) = duplex(1024);
    let scratch = Rc::new(RefCell::new(vec![0; 1024]));
    let connection = Connection::new(ours, scratch, early.into(), WriteQueue::default(), parrot);
    let both = async {
        let connection = spawn_local(connection);
        client(&mut theirs).await;
        drop(theirs);
        connection.await.unwrap();
    };
    timeout(Duration::from_secs(10), LocalSet::new().run_until(both)).await.expect("an end");
}

#[tokio::test]
async fn a_client_that_sends_more_than_it_reads_is_read_on_later() {
    const MESSAGES: usize = 5000;
    let parrot = Parrot { order: None, chatter: None, promises: Cell::new(0) };
    serve(b"", parrot, async |client| {
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
    let order = Some(ConnectionCommand::Close(CloseReason::TooSlow, None));
    serve(b"", Parrot { order, chatter: Some("late"), promises: Cell::new(0) }, async |client| {
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
async fn a_close_that_crosses_ours_is_not_awaited_again() {
    let order = Some(ConnectionCommand::Close(CloseReason::TooSlow, None));
    serve(
        &frame(0x88, b"\x03\xe8"),
        Parrot { order, chatter: None, promises: Cell::new(0) },
        async |client| {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, close_frame(CloseReason::TooSlow, None, None));
        },
    )
    .await;
}

#[tokio::test]
async fn a_restart_waits_for_promises_and_tells_those_who_come_too_late() {
    let order = Some(ConnectionCommand::Close(CloseReason::Restart, Some(7)));
    serve(b"", Parrot { order, chatter: None, promises: Cell::new(2) }, async |client| {
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

/// Says nothing, and gets what is said in the lobby of its hub.
struct Ear {
    hub: RefCell<Hub>,
    reader: SubscriberId,
    inflater: RefCell<Inflater>,
    heard: usize,
}

impl Ear {
    fn new() -> Self {
        let mut hub = Hub::new(HubLimits { hubs: 1, history: 1 << 20, backlog: 1 << 20 });
        let reader = hub.open();
        hub.subscribe(reader, &Channel::default(), ReadFrom::Last(0));
        Self { hub: RefCell::new(hub), reader, inflater: RefCell::default(), heard: 0 }
    }
}

impl MessageHandler for Ear {
    fn accept(&self) -> ReadLimits<'_> {
        ReadLimits { max_message: 1 << 16, binary: false, inflater: Some(&self.inflater) }
    }

    fn poll(&mut self, _: &mut Context<'_>, _: &mut WriteQueue) {}

    fn text(&mut self, _: Cow<'_, str>, _: &mut WriteQueue) {
        self.heard += 1;
    }

    fn source(&self) -> Option<Source<'_>> {
        Some((&self.hub, self.reader))
    }
}

#[tokio::test]
async fn messages_are_delivered_without_the_task_until_the_socket_is_full() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(listener.accept(), theirs);
    let ((ours, _), mut theirs) = (ours.unwrap(), theirs.unwrap());
    let scratch = Rc::new(RefCell::new(vec![0; 1024]));
    let (early, output) = (BytesMut::new(), WriteQueue::default());
    let mut connection = Connection::new(ours, scratch, early, output, Ear::new());
    let say = |connection: &mut Connection<_, Ear>, frame: &str| {
        let broadcast = EncodedMessage::of_frame(0, Channel::default(), frame);
        connection.dialogue.hub.borrow_mut().append(broadcast);
    };
    let run = async |connection: &mut Connection<_, Ear>| {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *connection).poll(context))).await
    };
    say(&mut connection, "[one]");
    assert!(connection.deliver());
    let mut got = [0; 5];
    theirs.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"[one]");

    // More than the kernel takes.
    let long = "two".repeat(4 << 20);
    say(&mut connection, &long);
    assert!(!connection.deliver(), "the task is needed");
    assert!(run(&mut connection).await.is_pending());
    say(&mut connection, "[three]");
    assert!(connection.deliver(), "the task waits for the socket");
    let mut all = vec![0; long.len() + 7];
    let read = theirs.read_exact(&mut all);
    tokio::select! {
        // It does not end of itself.
        () = poll_fn(|context| Pin::new(&mut connection).poll(context)) => panic!("it ended"),
        read = read => read.map(drop).unwrap(),
    }
    assert!(all == [long.as_bytes(), b"[three]"].concat());

    say(&mut connection, "[four]");
    assert!(connection.deliver());
    let mut got = [0; 6];
    theirs.read_exact(&mut got).await.unwrap();
    // Disconnected with a reset, which is there when it is awaited.
    theirs.set_zero_linger().unwrap();
    drop(theirs);
    connection.io.readable().await.unwrap();
    say(&mut connection, "[five]");
    assert!(!connection.deliver(), "the task finds the socket lost");
    assert!(run(&mut connection).await.is_ready());
}

#[tokio::test]
async fn a_restart_waits_for_what_was_read_and_has_to_wait() {
    const MESSAGES: usize = 200;
    let order = Some(ConnectionCommand::Close(CloseReason::Restart, None));
    let parrot = Parrot { order, chatter: None, promises: Cell::new(0) };
    serve(&frame(0x81, b"x").repeat(MESSAGES), parrot, async |client| {
        let mut all = Vec::new();
        let late = text_frame("too late").repeat(MESSAGES);
        while all.len() <= late.len() {
            assert_ne!(client.read_buf(&mut all).await.unwrap(), 0, "each is answered");
        }
        assert!(all.starts_with(&late) && all[late.len()] == 0x88, "before the end");
    })
    .await;
}

#[tokio::test]
async fn who_says_much_at_once_leaves_the_others_their_turn() {
    const MESSAGES: usize = 3000;
    let (ours, mut theirs) = duplex(1 << 20);
    let scratch = Rc::new(RefCell::new(vec![0; 64 << 10]));
    let all = frame(0x81, b"x").repeat(MESSAGES);
    let (early, rest) = all.split_at(all.len() / 2);
    theirs.write_all(rest).await.unwrap();
    let output = WriteQueue::default();
    let mut connection = Connection::new(ours, scratch, early.into(), output, Ear::new());
    let mut turns = 0;
    while connection.dialogue.heard < MESSAGES {
        let before = connection.dialogue.heard;
        poll_fn(|context| Poll::Ready(Pin::new(&mut connection).poll(context).is_pending())).await;
        assert!(connection.dialogue.heard - before <= TURN / LEAST);
        turns += 1;
    }
    assert!(turns < 10, "{turns}");
    drop(theirs);
    (&mut connection).await;
    assert!(connection.early.capacity() == 0, "what waited is given back");
}

#[tokio::test]
async fn what_is_dear_to_inflate_is_a_turn_of_its_own() {
    let (ours, _theirs) = duplex(64);
    let scratch = Rc::new(RefCell::new(vec![0; 1024]));
    // Final blocks with nothing in them.
    let payload = [3, 0].repeat(8 << 10);
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let message = [&[0xc1, 0x80 | 126, high, low, 0, 0, 0, 0][..], &payload].concat();
    let early = BytesMut::from(&message.repeat(3)[..]);
    let mut connection = Connection::new(ours, scratch, early, WriteQueue::default(), Ear::new());
    for turn in 1..=3 {
        poll_fn(|context| Poll::Ready(Pin::new(&mut connection).poll(context).is_pending())).await;
        assert_eq!(connection.dialogue.heard, turn);
    }
}
