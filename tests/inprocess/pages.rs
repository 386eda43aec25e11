//! `GET /messages` of a replica with the embedded broker.

use crate::replica::Replica;
use serde_json::json;
use warren_testkit::http;

#[tokio::test]
async fn embedded_broker_serves_pages_in_order() {
    let replica = Replica::ready(&[]).await;
    for n in 0..5 {
        replica.publish("a", n).await;
    }
    let messages = replica.all_pages("channel=a", 2).await;
    let texts: Vec<_> = messages.iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn invalid_query_is_refused() {
    let replica = Replica::ready(&[]).await;
    for query in [
        "?channel=",
        "?channel=a&limit=0",
        "?channel=a&limit=1001",
        "?channel=a&limit=many",
        "?channel=a&limit=-1",
    ] {
        let response = http::get(replica.addr, &format!("/messages{query}")).await;
        assert_eq!((response.status, response.error().as_str()), (400, "bad_request"), "{query}");
    }
    assert_eq!(replica.page("").await["messages"], json!([]), "the lobby");
}
