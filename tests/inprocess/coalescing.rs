//! Messages within the coalesce period share a write.

use crate::replica::Replica;
use std::time::{Duration, Instant};

/// Messages that fit into one write.
const MESSAGES: usize = 50;

#[tokio::test]
async fn messages_within_coalesce_period_share_a_write() {
    let moment = Duration::from_millis(500);
    let replica = Replica::ready(&[("COALESCE", "500ms")]).await;
    let mut listener = replica.client("").await;
    let greeted = replica.metric("warren_writes_total").await;
    let start = Instant::now();
    // Each message is confirmed before the next one is sent, so without the period none would share a write.
    for number in 0..MESSAGES {
        assert_eq!(replica.post("lobby", number.to_string().as_str()).await.status, 202);
    }
    for number in 0..MESSAGES {
        assert_eq!(listener.text().await, number.to_string());
    }
    let moments = start.elapsed().as_millis() / moment.as_millis();
    let writes = replica.metric("warren_writes_total").await - greeted;
    // The first message is written at once, and the last one waits for at most one period.
    let most = moments as f64 + 2.0;
    assert!(writes <= most, "{writes} writes in {moments} moments");
}
