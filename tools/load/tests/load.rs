//! `warren-load` against replicas, with RabbitMQ where they are joined.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use warren_testkit::LIMIT;
use warren_testkit::ports::free_port;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::Replica;
use warren_testkit::tls;

/// Starts it with this environment and nothing else.
fn started(arguments: &[&str], environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warren-load"));
    command.env_clear().envs(environment.iter().copied()).args(arguments);
    Process::spawn(command)
}

/// Its exit code and its output.
async fn ended(mut load: Process) -> (i32, String) {
    let status = load.ended(LIMIT).await;
    let output = load.output();
    assert!(!output.contains("panicked"), "{output}");
    (status.code().expect("an exit code"), output)
}

async fn load(arguments: &[&str]) -> (i32, String) {
    ended(started(arguments, &[])).await
}

/// Its exit code and its report.
async fn report(arguments: &[&str]) -> (i32, Value) {
    let (code, output) = load(&[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&output).unwrap_or_else(|_| panic!("no JSON: {output}")))
}

fn url(address: SocketAddr) -> String {
    format!("ws://{address}")
}

/// Two replicas on these exchanges, and their addresses.
async fn two(exchanges: [&str; 2]) -> ([Replica; 2], [String; 2]) {
    let rabbitmq = shared().url();
    // By default a client may publish far fewer messages than a replica takes.
    let rate = [("CLIENT_RATE", "100000/s")];
    let a = Replica::on_rabbitmq("load-a", &rabbitmq, exchanges[0], &rate).await;
    let b = Replica::on_rabbitmq("load-b", &rabbitmq, exchanges[1], &rate).await;
    let urls = [&a, &b].map(|replica| url(replica.addr));
    ([a, b], urls)
}

#[tokio::test]
async fn joined_replicas_lose_nothing() {
    let exchange = unique("load");
    let (_replicas, [a, b]) = two([&exchange, &exchange]).await;
    let options = "--clients 60 --publishers 6 --outstanding 4 --duration 1s --size 1KiB";
    let options: Vec<_> = options.split(' ').collect();
    let (code, report) = report(&[&[a.as_str(), b.as_str()], &options[..]].concat()).await;
    assert_eq!((code, &report["passed"]), (0, &json!(true)), "{report}");
    let connections = &report["connections"];
    assert_eq!(connections["accepted"], 60, "{report}");
    assert_eq!(connections["replicas"], json!({ "load-a": 30, "load-b": 30 }), "{report}");
    assert_eq!((&connections["refused"], &connections["closed"]), (&json!({}), &json!({})));
    let (messages, deliveries) = (&report["messages"], &report["deliveries"]);
    assert_eq!(messages["sent"], messages["confirmed"], "{report}");
    let confirmed = messages["confirmed"].as_u64().unwrap();
    assert!(confirmed > 0, "{report}");
    assert_eq!(deliveries["delivered"], confirmed * 60, "{report}");
    for never in ["lost", "duplicated", "out_of_order"] {
        assert_eq!(deliveries[never], 0, "{report}");
    }
    let latency = |name: &str| report["latency"][name].as_f64().unwrap();
    assert!(latency("p50") > 0.0 && latency("p50") <= latency("p99"), "{report}");
    assert!(latency("p99") <= latency("max"), "{report}");
}

#[tokio::test]
async fn missing_deliveries_are_reported_as_lost() {
    // They are not joined: each delivers only its own messages.
    let exchanges = [unique("load"), unique("load")];
    let (_replicas, [a, b]) = two([&exchanges[0], &exchanges[1]]).await;
    let options = ["--clients", "10", "--publishers", "2", "--rate", "20/s", "--duration", "1s"];
    let (code, report) = report(&[&[a.as_str(), b.as_str()], &options[..]].concat()).await;
    assert_eq!((code, &report["passed"]), (1, &json!(false)), "{report}");
    let confirmed = report["messages"]["confirmed"].as_u64().unwrap();
    assert!(confirmed > 0, "{report}");
    assert_eq!(report["deliveries"]["expected"], confirmed * 10, "{report}");
    assert_eq!(report["deliveries"]["delivered"], confirmed * 5, "{report}");
    assert_eq!(report["deliveries"]["lost"], confirmed * 5, "{report}");
}

#[tokio::test]
async fn refusals_are_reported_with_their_reasons() {
    let replica = Replica::ready(&[("CLIENT_RATE", "1/m"), ("MAX_CONNECTIONS", "5")]).await;
    let nobody = format!("ws://127.0.0.1:{}", free_port());
    let options = ["--clients", "12", "--publishers", "2", "--rate", "20/s", "--duration", "1s"];
    let (code, report) = report(&[&[&*url(replica.addr), &*nobody], &options[..]].concat()).await;
    let connections = &report["connections"];
    assert_eq!(connections["accepted"], 5, "{report}");
    let refused = connections["refused"].as_object().unwrap();
    assert_eq!(refused["503 too_many_connections"], 1, "{report}");
    assert!(refused.iter().any(|(why, times)| why.contains("refused") && *times == 6), "{report}");
    let messages = &report["messages"];
    let limited = messages["refused"]["rate_limited"].as_u64().unwrap();
    assert_eq!(messages["sent"], messages["confirmed"].as_u64().unwrap() + limited, "{report}");
    // A message that was not confirmed is not expected.
    assert_eq!((code, &report["deliveries"]["lost"]), (0, &json!(0)), "{report}");
}

#[tokio::test]
async fn connections_to_a_killed_replica_are_reported_as_closed() {
    let mut replica = Replica::ready(&[]).await;
    let address = url(replica.addr);
    let load = started(&[&address, "--clients", "5", "--duration", "10m", "--json"], &[]);
    replica.metric_becomes("warren_connections{transport=\"websocket\"}", |open| open == 5.0).await;
    replica
        .metric_becomes("warren_messages_received_total{transport=\"websocket\"}", |said| {
            said >= 2.0
        })
        .await;
    replica.kill();
    let (code, output) = ended(load).await;
    let report: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["connections"]["closed"], json!({ "1006": 5 }), "{report}");
    let lost = &report["deliveries"]["lost"];
    assert_eq!(lost, &report["deliveries"]["lost_to_closed"], "{report}");
    assert_eq!(code == 0, lost == 0, "{report}");
}

#[tokio::test]
async fn interrupt_prints_the_results_so_far() {
    let replica = Replica::ready(&[]).await;
    let address = url(replica.addr);
    let mut load = started(&[&address, "--clients", "5", "--duration", "10m"], &[]);
    replica
        .metric_becomes("warren_messages_received_total{transport=\"websocket\"}", |said| {
            said >= 2.0
        })
        .await;
    load.signal("INT");
    let (code, output) = ended(load).await;
    assert_eq!(code, 0, "{output}");
    for says in ["connections   5 accepted", "0 refused", "lost          0", "latency       p50"] {
        assert!(output.contains(says), "{says} in:\n{output}");
    }
    // They close their connections.
    let closed = "warren_connections_closed_total{code=\"1000\",reason=\"by_client\"}";
    replica.metric_becomes(closed, |closed| closed == 5.0).await;
}

#[tokio::test]
async fn server_behind_tls_needs_a_trusted_certificate() {
    let replica = Replica::ready(&[]).await;
    let (address, certificate) = tls::in_front_of(replica.addr).await;
    let address = format!("wss://{address}/ws");
    let arguments = [&*address, "--clients", "3", "--duration", "500ms"];
    let sandbox = warren_testkit::process::Sandbox::new();
    let file = sandbox.dir().join("authority.pem");
    fs::write(&file, certificate).unwrap();
    let (code, output) =
        ended(started(&arguments, &[("SSL_CERT_FILE", file.to_str().unwrap())])).await;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("connections   3 accepted"), "{output}");
    let (code, output) = load(&arguments).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("0 accepted") && output.contains("certificate"), "{output}");
}

#[tokio::test]
async fn invalid_arguments_are_refused() {
    for (arguments, says) in [
        (&[][..], "URL"),
        (&["http://user:hunter2@host"], "no user"),
        (&["ws://host", "--clients", "none"], "--clients"),
        (&["ws://host", "--rate", "20"], "50/s"),
        (&["ws://host", "--fast"], "unexpected argument '--fast'"),
    ] {
        let (code, output) = load(arguments).await;
        assert_eq!(code, 64, "{output}");
        assert!(output.contains(says) && !output.contains("hunter2"), "{output}");
    }
    let (code, output) = load(&["ws://no-such-name.invalid"]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("no-such-name.invalid: no address: "), "{output}");
    let (code, output) = load(&["ws://127.0.0.1", "--clients", "1000000"]).await;
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("ulimit -n"), "{output}");
}
