//! A subscriber over any of the transports.

use super::client::Client;
use super::endpoints::Endpoints;
use super::events::Events;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    V1,
    /// `warren.v1`, with a `subscribe` command for each channel.
    Subscribe,
    Events,
    /// An event stream, with the cursor in the header that browsers send.
    LastEventId,
}

pub const TRANSPORTS: [Transport; 5] = [
    Transport::Plain,
    Transport::V1,
    Transport::Subscribe,
    Transport::Events,
    Transport::LastEventId,
];

pub struct Subscriber {
    /// The content of the ready frame, or of the last `subscribed`.
    pub ready: Value,
    connection: Connection,
}

enum Connection {
    Socket(Client),
    Events(Events),
}

impl Subscriber {
    pub async fn connect(
        transport: Transport,
        replica: &Endpoints,
        channels: &[&str],
        after: &str,
        history: usize,
    ) -> Self {
        let query: String = channels.iter().map(|channel| format!("channel={channel}&")).collect();
        let query = format!("?{query}history={history}");
        let with_after = format!("{query}&after={after}");
        let (ready, connection) = match transport {
            Transport::Plain => socket(replica.client(&with_after).await),
            Transport::V1 => socket(replica.v1(&with_after).await),
            Transport::Subscribe => {
                let mut client = replica.v1("").await;
                let mut ready = Value::Null;
                for channel in channels {
                    let command = json!({ "ref": channel, "channel": channel, "after": after, "history": history });
                    let answer = client.ask(&json!({ "subscribe": command })).await;
                    ready = answer["subscribed"].clone();
                    assert_eq!(ready["channel"], *channel, "{answer}");
                }
                (ready, Connection::Socket(client))
            }
            Transport::Events => events(Events::connect(replica.addr, &with_after).await),
            Transport::LastEventId => {
                let header = format!("Last-Event-ID: {after}\r\n");
                // The parameter is outdated when a browser reconnects.
                let query = format!("{query}&after=outdated");
                events(Events::connect_with(replica.addr, &query, &header).await)
            }
        };
        Self { ready, connection }
    }

    /// The next message. Anything else is a failure.
    pub async fn message(&mut self) -> Value {
        match &mut self.connection {
            Connection::Socket(client) => client.message().await,
            Connection::Events(events) => events.message().await,
        }
    }

    /// Awaits a message of this id and text as the next frame or event.
    pub async fn receives(&mut self, id: &str, text: impl Into<Value>) {
        let (message, text) = (self.message().await, text.into());
        assert_eq!((&message["id"], &message["text"]), (&json!(id), &text));
    }

    /// Awaits a gap as the next frame or event.
    pub async fn gap(&mut self) {
        match &mut self.connection {
            Connection::Socket(client) => {
                let frame = client.frame().await.expect("it stays connected");
                assert!(frame["gap"]["message"].is_string(), "{frame}");
            }
            Connection::Events(events) => {
                let event = events.next().await.expect("it stays connected");
                assert_eq!(event.kind, "gap");
                assert!(event.json()["message"].is_string(), "{event:?}");
            }
        }
    }
}

fn socket(client: Client) -> (Value, Connection) {
    (client.ready.clone(), Connection::Socket(client))
}

fn events(events: Events) -> (Value, Connection) {
    let mut ready = events.ready.clone();
    // The cursor is the id of the ready event.
    if let Some(cursor) = &events.cursor {
        ready["cursor"] = json!(cursor);
    }
    (ready, Connection::Events(events))
}
