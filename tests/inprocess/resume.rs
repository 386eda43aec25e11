//! Resuming with `after` from the memory of a replica.

use crate::replica::Replica;
use serde_json::json;
use warren_testkit::replica::SMALL_HISTORY;
use warren_testkit::subscriber::{Subscriber, TRANSPORTS};

#[tokio::test]
async fn embedded_broker_resumes_from_memory_and_reports_expired() {
    let replica = Replica::ready(&SMALL_HISTORY).await;
    let padding = "x".repeat(4 << 10);
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(replica.publish("lobby", json!([n, padding])).await);
    }
    for transport in TRANSPORTS {
        let mut back = Subscriber::connect(transport, &replica, &["lobby"], &ids[190], 0).await;
        assert_eq!(back.ready["recovered"], true, "{transport:?}: {}", back.ready);
        for (n, id) in ids.iter().enumerate().skip(191) {
            back.receives(id, json!([n, padding])).await;
        }
        let lost = Subscriber::connect(transport, &replica, &["lobby"], &ids[0], 0).await;
        assert_eq!(lost.ready["recovered"], false);
        assert_eq!(lost.ready["reason"], "expired", "{transport:?}");
    }
}
