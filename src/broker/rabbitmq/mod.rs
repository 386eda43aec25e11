//! RabbitMQ: a fanout exchange, and for each replica a queue of its own.
//!
//! Publishing and consuming have a connection each, since an alarm of the broker blocks the former.
//! Whatever goes wrong on either ends in the same way: its session is dropped and built anew, topology
//! included, for as long as it takes. `link` is what the parts tell each other, and `canary` proves
//! that the whole works.

mod canary;
mod connection;
mod consumer;
mod control;
mod ended;
mod link;
mod outbox;
mod publisher;
mod recent;
mod topology;

use super::House;
use crate::config::{AmqpUrls, Config};
use canary::Canary;
use connection::Connector;
use consumer::Consumer;
use link::Link;
use publisher::Publisher;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Control messages that may wait to be published.
const CONTROL: usize = 4;

pub(super) async fn run(house: House, config: Config, urls: AmqpUrls) {
    let nodes: Vec<_> = urls.0.iter().map(ToString::to_string).collect();
    tracing::info!(
        nodes = nodes.join(","),
        exchange = config.exchange.0,
        "joining replicas through RabbitMQ"
    );
    let link = Arc::new(Link::new(house.status, house.metrics));
    let (control_tx, control) = mpsc::channel(CONTROL);
    let (heard_tx, heard) = mpsc::channel(CONTROL);

    let consumer = Consumer {
        connector: Connector::new(&urls, &config, "consume", &link),
        link: link.clone(),
        config: config.clone(),
        deliveries: house.deliveries,
        heard: heard_tx,
        roster: house.roster.clone(),
    };
    let canary = Canary::new(&config, link.clone(), house.roster.clone(), control_tx, heard);
    let mut publisher = Publisher {
        connector: Connector::new(&urls, &config, "publish", &link),
        link,
        config,
        roster: house.roster,
        submissions: house.submissions,
        control,
        closing: house.closing,
    };

    let (finish, finished) = watch::channel(false);
    let mut consuming = tokio::spawn(consumer.run(finished));
    let mut proving = tokio::spawn(canary.run());
    tokio::select! {
        () = publisher.run() => {}
        // Neither ends by itself, unless there is a fault in it; then all is to end.
        _ = &mut consuming => return,
        _ = &mut proving => return,
    }
    // What was accepted is settled, so nothing needs to be heard any more.
    proving.abort();
    let _ = finish.send(true);
    let _ = consuming.await;
}
