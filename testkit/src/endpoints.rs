//! The two ports of a replica, and the requests that tests send to them.

use super::LIMIT;
use super::client::Client;
use super::events::Events;
use super::http::{self, Response};
use super::process::POLL;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::time::{Instant, sleep};

/// Addresses of a replica, in a process of its own or in the test's.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// Address for clients.
    pub addr: SocketAddr,
    /// Address for health and metrics.
    pub admin: SocketAddr,
}

impl Endpoints {
    pub async fn client(&self, query: &str) -> Client {
        Client::connect(self.addr, query).await
    }

    /// A client of `warren.v1`.
    pub async fn v1(&self, query: &str) -> Client {
        Client::connect_v1(self.addr, query).await
    }

    pub async fn events(&self, query: &str) -> Events {
        Events::connect(self.addr, query).await
    }

    /// One page of `GET /messages`.
    pub async fn page(&self, query: &str) -> Value {
        let page = http::get(self.addr, &format!("/messages{query}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.body);
        page.json()
    }

    /// Publishes over HTTP.
    pub async fn post(&self, channel: &str, text: impl Into<Value>) -> Response {
        let body = serde_json::json!({ "channel": channel, "text": text.into() });
        http::post(self.addr, "/messages", &body.to_string()).await
    }

    /// Publishes over HTTP, with these header lines.
    pub async fn post_with(&self, headers: &str, channel: &str, text: &str) -> Response {
        let body = serde_json::json!({ "channel": channel, "text": text }).to_string();
        let request = format!(
            "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        http::send(self.addr, &request).await
    }

    /// Publishes over HTTP, asserts that it is confirmed, and returns the id.
    pub async fn publish(&self, channel: &str, text: impl Into<Value>) -> String {
        let response = self.post(channel, text).await;
        assert_eq!(response.status, 202, "{}", response.body);
        response.json()["id"].as_str().expect("an id").to_owned()
    }

    pub async fn becomes_ready(&self, ready: bool) {
        let status = if ready { 200 } else { 503 };
        let deadline = Instant::now() + LIMIT;
        loop {
            let response = http::get(self.admin, "/readyz").await;
            if response.status == status {
                return;
            }
            assert!(Instant::now() < deadline, "not {status} but: {}", response.body);
            sleep(POLL).await;
        }
    }

    /// The value of a metric, with its labels written as in the exposition.
    pub async fn metric(&self, series: &str) -> f64 {
        self.series(series).await.unwrap_or_else(|metrics| panic!("no {series} in:\n{metrics}"))
    }

    /// The value of a metric, or all metrics if it is missing.
    async fn series(&self, series: &str) -> Result<f64, String> {
        let metrics = http::get(self.admin, "/metrics").await.body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap()).ok_or(metrics)
    }

    /// Waits until a metric satisfies `wanted`. A missing one is 0.
    pub async fn metric_becomes(&self, series: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let value = self.series(series).await.unwrap_or(0.0);
            if wanted(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{series} is {value}");
            sleep(POLL).await;
        }
    }

    /// All messages of these channels, page by page from the oldest on. `channels` is a query.
    pub async fn all_pages(&self, channels: &str, limit: usize) -> Vec<Value> {
        let (mut messages, mut after) = (Vec::<Value>::new(), String::new());
        loop {
            let page = self.page(&format!("?{channels}&limit={limit}{after}")).await;
            assert_eq!(page["recovered"], true, "{page}");
            let more = page["more"].as_bool().unwrap();
            let page = page["messages"].as_array().unwrap();
            let complete = page.len() <= limit && (page.len() == limit || !more);
            assert!(complete, "only the last page is short");
            messages.extend(page.iter().cloned());
            if !more {
                return messages;
            }
            after = format!("&after={}", page.last().unwrap()["id"].as_str().unwrap());
        }
    }
}
