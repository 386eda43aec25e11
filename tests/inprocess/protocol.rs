//! The tables of docs/protocol.md agree with the code, row by row.

use crate::replica::Replica;
use serde_json::json;
use std::collections::BTreeMap;
use warren_protocol::error::PublishError;
use warren_protocol::message::{MAX_CHANNEL, MAX_KEY};
use warren_protocol::websocket::{CLOSES, Reconnect};
use warren_testkit::http;
use warren_testkit::http::STALLED;
use warren_testkit::ports::free_port;
use warren_testkit::raw::HANDSHAKE;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// The rows of the first table of `markdown` with this header, without backticks.
fn table(markdown: &str, header: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>()
    };
    let lines = markdown.lines().skip_while(|line| *line != header).skip(2);
    let rows: Vec<_> = lines.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "no table {header}");
    rows
}

#[test]
fn documented_close_codes_match_code() {
    let documented = table(DOCUMENT, "| code | reason | label | reconnect |");
    let reconnect = |reconnect| match reconnect {
        Reconnect::No => "no",
        Reconnect::Slowly => "slowly",
        Reconnect::Backoff => "with backoff",
        Reconnect::AfterHint => "after the hint",
    };
    let in_code = CLOSES.iter().map(|row| {
        let cells = [&row.code.to_string(), row.reason, row.label, reconnect(row.reconnect)];
        cells.map(str::to_owned).to_vec()
    });
    assert_eq!(documented, in_code.collect::<Vec<_>>());
}

/// All publish errors. A new one does not compile until it is in both lists.
fn publish_errors() -> [PublishError; 4] {
    use PublishError::{BufferFull, Closing, Refused, TimedOut};
    let known = |error| match error {
        BufferFull | TimedOut | Refused | Closing => error,
    };
    [BufferFull, TimedOut, Refused, Closing].map(known)
}

#[tokio::test]
async fn documented_error_codes_match_answers() {
    let settings = [("MAX_CONNECTIONS", "1"), ("MAX_MESSAGE", "100B"), ("CLIENT_RATE", "1/m")];
    let replica = Replica::ready(&settings).await;
    let mut client = replica.client("").await;
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    let alone = Replica::start(&[("AMQP_URL", url.as_str()), ("MAX_MESSAGE", "100B")]);
    let foreign = HANDSHAKE.replace("Host: x", "Host: x\r\nOrigin: https://evil.example");
    let mut seen = BTreeMap::<_, [String; 2]>::new();
    for response in [
        http::get(replica.addr, "/ws?channel=").await,
        http::send(replica.addr, &foreign).await,
        http::get(replica.addr, "/nowhere").await,
        http::post(replica.addr, "/replicas", "").await,
        replica.post("lobby", "x".repeat(101)).await,
        http::get(replica.addr, "/ws").await,
        http::send(replica.addr, HANDSHAKE).await,
        http::send(replica.addr, STALLED).await,
        http::get(alone.addr, "/messages?after=1-0123456789abcdef").await,
    ] {
        seen.entry(response.error()).or_default()[0] = response.status.to_string();
    }
    client.send("allowed").await;
    assert_eq!(client.text().await, "allowed");
    client.send("too much").await;
    let mut errors = vec![client.frame().await.unwrap()];
    let mut v1 = alone.v1("").await;
    for (channel, text) in [("", "bad"), ("large", &*"x".repeat(101))] {
        let content = json!({ "ref": 1, "channel": channel, "text": text });
        errors.push(v1.ask(&json!({ "publish": content })).await);
    }
    for error in errors {
        let code = error["error"]["code"].as_str().unwrap().to_owned();
        seen.entry(code).or_default()[1] = "yes".to_owned();
    }
    for error in publish_errors() {
        seen.insert(error.code().to_owned(), ["503".to_owned(), "yes".to_owned()]);
    }

    let mut documented = BTreeMap::new();
    for row in table(DOCUMENT, "| code | HTTP status | in frames | meaning |") {
        let [code, status, frames, _] = row.try_into().unwrap();
        documented.insert(code, [status, frames]);
    }
    assert_eq!(documented, seen);
}

#[tokio::test]
async fn documented_limits_match_code() {
    let header = "| variable | default | meaning | accepts |";
    let configuration = warren_config::markdown();
    let sections = configuration.split("\n## ").filter(|section| section.contains(header));
    let defaults: BTreeMap<_, _> = sections
        .flat_map(|section| table(section, header))
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    // `WARREN_MAX_MESSAGE`, 64 KiB
    let mut compared = 0;
    for row in table(DOCUMENT, "| what | limit | beyond it |") {
        let Some((variable, rest)) = row[1].split_once(", ") else { continue };
        let variable = variable.rsplit(' ').next().unwrap();
        let value = rest.split(',').next().unwrap().replace(' ', "");
        if let Some(default) = defaults.get(variable).filter(|_| !rest.starts_with("by default")) {
            assert_eq!(&value, default, "{variable}");
            compared += 1;
        }
    }
    assert_eq!(compared, 8);

    assert!(DOCUMENT.contains(&format!("1 to {MAX_CHANNEL} bytes")));
    assert!(DOCUMENT.contains(&format!("| Key, in bytes | 1 to {MAX_KEY} |")));
    assert!(DOCUMENT.contains("up to 64 different ones"));
    let replica = Replica::ready(&[]).await;
    let channels = |count| (1..=count).map(|n| format!("&channel={n}")).collect::<String>();
    let most = http::get(replica.addr, &format!("/ws?{}", channels(64))).await;
    assert_eq!(most.error(), "no_websocket", "it would do");
    let more = http::get(replica.addr, &format!("/ws?{}", channels(65))).await;
    assert_eq!(more.error(), "bad_request");
}
