//! RabbitMQ's password and the collector's headers are never shown, whatever fails. Invalid values of variables are in
//! `settings` and `check`.

use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use std::process::Command;
use warren_testkit::LIMIT;
use warren_testkit::http;
use warren_testkit::ports::free_port;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{Replica, warren};

const SECRET: &str = "hunter2";

fn settings<'a>(url: &'a str, exchange: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("AMQP_URL", url),
        ("EXCHANGE", exchange),
        ("PUBLISH_TIMEOUT", "200ms"),
        ("LOG", "trace"),
        ("DRAIN_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9/hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]
}

/// Waits for `trouble` in the log, and asserts that the secret is in no answer and no line.
async fn shows_no_secret(mut replica: Replica, trouble: &str) {
    replica.process.line(LIMIT, |line| line.contains(trouble)).await;
    let message = replica.post("lobby", "lost").await;
    assert_eq!(message.status, 503, "{trouble}: {message:?}");
    let ready = http::get(replica.admin, "/readyz").await;
    assert_eq!(ready.status, 503, "{trouble}: {ready:?}");
    let mut shown = format!("{message:?}{ready:?}");
    for path in ["/metrics", "/livez", "/"] {
        shown += &format!("{:?}", http::get(replica.admin, path).await);
    }
    for path in ["/", "/replicas", "/messages", "/ws"] {
        shown += &format!("{:?}", http::get(replica.addr, path).await);
    }
    replica.process.signal("TERM");
    assert!(replica.process.ended(LIMIT).await.success(), "{trouble}");
    shown += &replica.process.output();
    assert!(!shown.contains(SECRET), "{trouble}: {shown}");
}

#[tokio::test]
async fn broker_errors_contain_no_password() {
    let (rabbitmq, exchange, user) = (shared(), unique("messages"), unique("user"));
    let port = rabbitmq.port();
    rabbitmq.ctl(&["add_user", &user, SECRET]).await;
    let url = |scheme: &str, user: &str, port: u16, rest: &str| {
        format!("{scheme}://{user}:{SECRET}@127.0.0.1:{port}{rest}")
    };
    // An exchange of another type than Warren declares.
    let other = unique("other");
    let peer = Connection::connect(&rabbitmq.url(), ConnectionProperties::default()).await.unwrap();
    let channel = peer.create_channel().await.unwrap();
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declared = channel.exchange_declare(
        other.as_str().into(),
        ExchangeKind::Topic,
        options,
        FieldTable::default(),
    );
    declared.await.unwrap();
    for (url, exchange, trouble) in [
        (url("amqp", "guest", port, ""), &exchange, "ACCESS_REFUSED"),
        (url("amqp", &user, port, "/nowhere"), &exchange, "nowhere"),
        (url("amqp", &user, port, ""), &exchange, "refused"),
        (url("amqps", &user, port, ""), &exchange, "cannot connect to RabbitMQ"),
        (url("amqp", &user, free_port(), ""), &exchange, "cannot connect to RabbitMQ"),
    ] {
        shows_no_secret(Replica::start(&settings(&url, exchange)).await, trouble).await;
    }
    let all = [".*"; 3];
    rabbitmq.ctl(&[&["set_permissions", user.as_str()][..], &all].concat()).await;
    let url = url("amqp", &user, port, "");
    shows_no_secret(Replica::start(&settings(&url, &other)).await, "no longer reading").await;

    // While connected, with only the permissions that docs/operations.md asks for.
    let rights = format!("^{exchange}(\\.log)?$");
    rabbitmq.ctl(&["set_permissions", &user, &rights, &rights, &rights]).await;
    let replica = Replica::ready(&settings(&url, &exchange)).await;
    rabbitmq.ctl(&["change_password", &user, "another"]).await;
    rabbitmq.ctl(&["close_all_user_connections", &user, "revoked"]).await;
    shows_no_secret(replica, "ACCESS_REFUSED").await;
}

#[test]
fn help_does_not_depend_on_environment() {
    let help = |command: &mut Command| command.arg("--help").output().unwrap();
    let plain = help(Command::new(warren()).env_clear());
    let set = help(Command::new(warren()).env_clear().envs([
        ("WARREN_AMQP_URL", "amqp://user:hunter2@host"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
    ]));
    assert!(set.status.success());
    assert_eq!((plain.stdout, plain.stderr), (set.stdout, set.stderr));
}
