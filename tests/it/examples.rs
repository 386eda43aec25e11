//! Runs the examples of docs/protocol.md, one after the other, and compares what happens.
//!
//! A block of kind `websocket`, `warren.v1` or `events` is a connection, one of kind `console` a
//! terminal:
//!
//! - `WARREN_…=…`: a setting; the block then has a replica and an exchange of its own
//! - `GET …`, followed by headers: the path to connect to
//! - `→ …`: a text that the client sends
//! - `← …`: a text that the client gets, a line of an event stream, or `close` with code and reason
//! - `$ …`: a command, followed by its output
//!
//! The other blocks share replicas, so that each continues from those before it.

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::process::Command;
use tokio::time::timeout;
use warren_client::websocket::{Handshake, Message, WebSocket};
use warren_testkit::LIMIT;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::rabbitmq_node::Node;
use warren_testkit::replica::Replica;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");
/// Blocks that are connections, or commands.
const KINDS: [&str; 4] = ["websocket", "warren.v1", "events", "console"];
/// Blocks that are not run.
const SHOWN: [&str; 3] = ["json", "js", "text"];
/// Addresses and process id of the replica in the document.
const ADDR: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9090";
const PROCESS: &str = "$WARREN_PID";
const EXCHANGE: &str = "messages";

struct Example {
    /// Line of the document at which it begins.
    at: usize,
    kind: &'static str,
    lines: Vec<&'static str>,
}

fn examples() -> Vec<Example> {
    let (mut examples, mut open) = (Vec::new(), None::<Example>);
    for (at, line) in (1..).zip(DOCUMENT.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some(Example { at, kind, lines: Vec::new() }),
            (Some(_), Some(_)) => examples.extend(open.take()),
            (None, Some(example)) => example.lines.push(line),
            (None, None) => {}
        }
    }
    examples.retain(|example| {
        let known = KINDS.contains(&example.kind);
        assert!(known || SHOWN.contains(&example.kind), "line {}: {}", example.at, example.kind);
        known
    });
    examples
}

/// A part of a text: a word, or a sign between words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Id(&'a str),
    Date,
    /// A delay in milliseconds or seconds.
    Pause,
    Plain(&'a str),
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let inside = |c: char| c.is_alphanumeric() || "-.:".contains(c);
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if inside(first) {
            rest.find(|c| !inside(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, behind) = rest.split_at(end);
        let after_retry = || matches!(parts[..], [Part::Plain("retry:" | "retry-after:"), _]);
        parts.push(if is_id(word) {
            Part::Id(word)
        } else if word.len() == 24 && word.parse::<jiff::Timestamp>().is_ok() {
            Part::Date
        } else if is_number(word.strip_suffix("ms").unwrap_or(""))
            || is_number(word) && after_retry()
        {
            Part::Pause
        } else {
            Part::Plain(word)
        });
        rest = behind;
    }
    parts
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

/// True for an id of delivery mode `log`.
fn is_id(word: &str) -> bool {
    let hex = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let Some((position, check)) = word.split_once('-') else { return false };
    let (check, distance) = check.split_once('-').unwrap_or((check, "0"));
    hex(position) && check.len() == 16 && hex(check) && hex(distance)
}

/// The real id for each id of the document.
#[derive(Clone, Default)]
struct Ids(HashMap<String, String>);

impl Ids {
    /// A text of the document with real ids, as far as they are known.
    fn real(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    /// Compares a real text with that of the document. If they match, the ids of the text are known from then on.
    fn learn(&mut self, shown: &str, real: &str) -> bool {
        let (shown, real) = (parts(shown), parts(real));
        let mut ids = self.clone();
        let same = shown.len() == real.len()
            && shown.iter().zip(&real).all(|parts| match parts {
                (Part::Id(shown), Part::Id(real)) => ids.pair(shown, real),
                (shown, real) => shown == real,
            });
        if same {
            *self = ids;
        }
        same
    }

    fn pair(&mut self, shown: &str, real: &str) -> bool {
        if let Some(known) = self.0.get(shown) {
            return known == real;
        }
        let new = !self.0.values().any(|known| known == real);
        self.0.insert(shown.to_owned(), real.to_owned());
        new
    }
}

/// The replica that examples run against.
struct ExampleRun {
    rabbitmq: &'static Node,
    exchange: String,
    replica: Replica,
    ids: Ids,
}

impl ExampleRun {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let (rabbitmq, exchange) = (shared(), unique("messages"));
        // With one worker the cursor of `ready` includes every message that a client before it got. Heartbeats
        // detect that `curl` has left.
        let settings = [settings, &[("WORKERS", "1"), ("PING_INTERVAL", "5s")]].concat();
        let replica = Replica::on_rabbitmq("burrow-1", &rabbitmq.url(), &exchange, &settings).await;
        Self { rabbitmq, exchange, replica, ids: Ids::default() }
    }

    async fn run(&mut self, lines: &[&str], kind: &str) {
        let mut lines = lines.iter().copied().peekable();
        let mut peer = None;
        if let Some(path) = lines.next_if(|line| line.starts_with("GET ")) {
            let mut headers = Vec::new();
            while let Some(line) = lines.next_if(|line| is_header(line)) {
                headers.push(self.ids.real(line));
            }
            let path = self.ids.real(&path["GET ".len()..]);
            peer = Some(self.connect(kind, &path, &headers).await);
        }
        while let Some(line) = lines.next() {
            if let Some(text) = line.strip_prefix("→ ") {
                peer.as_mut().expect("an address first").send(&self.ids.real(text)).await;
            } else if let Some(command) = line.strip_prefix("$ ") {
                let mut shown = Vec::new();
                while let Some(line) = lines.next_if(|line| !is_step(line)) {
                    shown.push(line);
                }
                self.command(command, &shown).await;
            } else {
                let mut shown = vec![incoming(line)];
                while let Some(line) = lines.next_if(|line| line.starts_with('←')) {
                    shown.push(incoming(line));
                }
                self.hear(peer.as_mut().expect("an address first"), shown).await;
            }
        }
    }

    async fn connect(&self, kind: &str, path: &str, headers: &[String]) -> ExampleConnection {
        let addr = self.replica.addr;
        if kind == "events" {
            let mut curl = Command::new("curl");
            curl.args(["-sN", &format!("http://{addr}{path}")]);
            for header in headers {
                curl.args(["-H", header]);
            }
            return ExampleConnection::Events(Process::spawn(curl));
        }
        let mut handshake = Handshake::new(&format!("ws://{addr}{path}")).expect("an address");
        if kind == "warren.v1" {
            handshake = handshake.subprotocol(kind).unwrap();
        }
        ExampleConnection::Socket(Box::new(handshake.connect().await.expect("a WebSocket")))
    }

    /// Awaits these lines. Messages come in order; answers may come before or after them.
    async fn hear(&mut self, peer: &mut ExampleConnection, mut shown: Vec<&str>) {
        let ordered = matches!(peer, ExampleConnection::Events(_));
        while !shown.is_empty() {
            let real = peer.next().await;
            let is_message = |text: &str| ordered || text.starts_with("{\"id\":");
            let place = if is_message(&real) {
                shown.iter().position(|shown| is_message(shown))
            } else {
                let ids = &self.ids;
                let same = |shown: &&str| !is_message(shown) && ids.clone().learn(shown, &real);
                shown.iter().position(same)
            };
            let known = place.is_some_and(|place| self.ids.learn(shown[place], &real));
            assert!(known, "not one of {shown:#?} with ids {:?}:\n{real}", self.ids.0);
            shown.remove(place.expect("it is known"));
        }
    }

    async fn command(&mut self, command: &str, shown: &[&str]) {
        if let Some(arguments) = command.strip_prefix("rabbitmqctl ") {
            let arguments = arguments.replace(EXCHANGE, &self.exchange);
            self.rabbitmq.ctl(&arguments.split(' ').collect::<Vec<_>>()).await;
            return;
        }
        let silent = command.replacen("curl ", "curl -s --max-time 60 ", 1);
        let line = [
            (ADDR, self.replica.addr.to_string()),
            (ADMIN, self.replica.admin.to_string()),
            (PROCESS, self.replica.process.id().to_string()),
        ];
        let line = line.iter().fold(silent, |line, (shown, real)| line.replace(shown, real));
        let output = Command::new("sh").args(["-c", &self.ids.real(&line)]).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        let output = String::from_utf8(output.stdout).expect("text").replace("\r\n", "\n");
        let mut real: Vec<_> = output.trim_end().lines().collect();
        let mut shown = shown.to_vec();
        // The document shows only some headers.
        if let Some(behind) = shown.iter().position(|line| line.is_empty()) {
            let head: Vec<_> = shown.drain(..=behind).collect();
            let behind = real.iter().position(|line| line.is_empty()).expect("a head");
            let all: Vec<_> = real.drain(..=behind).collect();
            for header in head {
                assert!(all.contains(&header), "{command}: {header:?} is not among {all:#?}");
            }
        }
        let same = self.ids.learn(&shown.join("\n"), &real.join("\n"));
        assert!(same, "{command}\nwith ids {:?} writes:\n{}", self.ids.0, real.join("\n"));
    }
}

/// True for a line that is a step, and not the output of a command.
fn is_step(line: &str) -> bool {
    ["→ ", "←", "$ "].iter().any(|mark| line.starts_with(mark))
}

fn is_header(line: &str) -> bool {
    !is_step(line) && line.contains(": ")
}

fn incoming(line: &str) -> &str {
    let text = line.strip_prefix('←').unwrap_or_else(|| panic!("no step: {line}"));
    text.strip_prefix(' ').unwrap_or(text)
}

/// A connection of an example.
enum ExampleConnection {
    Socket(Box<WebSocket>),
    Events(Process),
}

impl ExampleConnection {
    async fn send(&mut self, text: &str) {
        let Self::Socket(socket) = self else { panic!("event streams are only read") };
        socket.send(Message::text(text)).await.expect("the socket takes it");
    }

    async fn next(&mut self) -> String {
        let socket = match self {
            Self::Events(curl) => return curl.line(LIMIT, |_| true).await,
            Self::Socket(socket) => socket,
        };
        loop {
            let next = timeout(LIMIT, socket.next()).await.expect("a frame in time");
            match next.expect("a frame").expect("a frame") {
                Message::Text(text) => return text.to_string(),
                Message::Close(Some(close)) => {
                    return format!("close {} {}", u16::from(close.code), close.reason);
                }
                _ => {}
            }
        }
    }
}

/// True for examples that need a replica of their own: they have settings, or delete or end something.
fn is_apart(example: &Example) -> bool {
    let marks = ["WARREN_", "$ rabbitmqctl delete", "$ kill"];
    example.lines.iter().any(|line| marks.iter().any(|mark| line.starts_with(mark)))
}

#[tokio::test]
async fn documented_examples_match_behaviour() {
    let examples = examples();
    for kind in KINDS {
        assert!(examples.iter().any(|example| example.kind == kind), "no example of {kind}");
    }
    let (apart, together): (Vec<_>, Vec<_>) = examples.into_iter().partition(is_apart);
    let apart = apart.iter().map(async |Example { at, kind, lines }| {
        let setting = |line: &&'static str| line.strip_prefix("WARREN_")?.split_once('=');
        let settings: Vec<_> = lines.iter().map_while(setting).collect();
        let mut run = ExampleRun::set(&settings).await;
        eprintln!("the example in line {at}");
        run.run(&lines[settings.len()..], kind).await;
    });
    let together = async {
        let mut run = ExampleRun::set(&[]).await;
        let url = run.rabbitmq.url();
        let _other = Replica::on_rabbitmq("burrow-2", &url, &run.exchange, &[]).await;
        run.replica.metric_becomes("warren_replicas", |count| count == 2.0).await;
        for Example { at, kind, lines } in together {
            eprintln!("the example in line {at}");
            run.run(&lines, kind).await;
            run.replica
                .metric_becomes("warren_connections{transport=\"websocket\"}", |count| count == 0.0)
                .await;
        }
    };
    tokio::join!(join_all(apart), together);
}

#[test]
fn wrong_example_is_detected() {
    let mut ids = Ids::default();
    let shown = r#"{"id":"4-5a0c41fd27b8e963","date":"2026-11-22T05:24:40.498Z","text":"a"}"#;
    let real = r#"{"id":"1b-0123456789abcdef","date":"2027-01-02T03:04:05.678Z","text":"a"}"#;
    assert!(ids.learn(shown, real) && ids.learn(shown, real));
    assert_eq!(ids.real("after=4-5a0c41fd27b8e963"), "after=1b-0123456789abcdef");
    let date = ("2026-11-22T05:24:40.498Z", "yesterday");
    for (from, to) in [
        ("\"text\":\"a\"", "\"text\":\"b\""),
        ("\"text\"", "\"texts\""),
        (",\"text\":\"a\"", ""),
        ("4-5a0c41fd27b8e963", "4-5a0c41fd27b8e964"),
        ("4-5a0c41fd27b8e963", "mine"),
        date,
    ] {
        let wrong = shown.replace(from, to);
        assert!(wrong != shown && !ids.learn(&wrong, real), "{wrong}");
    }
    assert!(ids.learn("retry: 1370", "retry: 205") && ids.learn("retry in 1370ms", "retry in 2ms"));
    assert!(!ids.learn("retry: 1370", "retry: soon") && !ids.learn("limit=2", "limit=3"));
}
