//! A real Prometheus, with the targets, labels and rules that it would have in a cluster.

use super::LIMIT;
use super::http;
use super::ports::free_port;
use super::process::{POLL, Process, Sandbox};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use tokio::time::{Instant, sleep};

/// Namespace of all targets.
pub const NAMESPACE: &str = "warren";

pub type Labels = BTreeMap<String, String>;

/// A scrape target, with the labels that a PodMonitor sets.
pub struct Target {
    addr: SocketAddr,
    pod: String,
    container: &'static str,
    /// Name of the port.
    endpoint: &'static str,
    /// Name of the PodMonitor.
    monitor: &'static str,
}

impl Target {
    /// A replica, by its admin address.
    pub fn replica(pod: &str, admin: SocketAddr) -> Self {
        let (container, endpoint, monitor) = ("warren", "admin", "warren");
        Self { addr: admin, pod: pod.to_owned(), container, endpoint, monitor }
    }

    /// A RabbitMQ node, by the address of its plugin.
    pub fn rabbitmq(pod: &str, addr: SocketAddr) -> Self {
        let (container, endpoint, monitor) = ("rabbitmq", "prometheus", "warren-rabbitmq");
        Self { addr, pod: pod.to_owned(), container, endpoint, monitor }
    }

    fn job(&self) -> String {
        format!("{NAMESPACE}/{}", self.monitor)
    }

    fn config(&self) -> Value {
        json!({ "targets": [self.addr.to_string()], "labels": {
            "namespace": NAMESPACE,
            "pod": self.pod,
            "container": self.container,
            "endpoint": self.endpoint,
            "job": self.job(),
        }})
    }
}

/// A sample of an instant query.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    #[serde(rename = "metric")]
    pub labels: Labels,
    value: Point,
}

impl Sample {
    pub fn value(&self) -> f64 {
        self.value.value()
    }
}

/// A series of a range query.
#[derive(Clone, Debug, Deserialize)]
pub struct Series {
    #[serde(rename = "metric")]
    pub labels: Labels,
    #[serde(rename = "values")]
    pub points: Vec<Point>,
}

/// Seconds since 1970, and a number as text, which may be `NaN` or `+Inf`.
#[derive(Clone, Debug, Deserialize)]
pub struct Point(pub f64, String);

impl Point {
    pub fn value(&self) -> f64 {
        self.1.parse().expect("a number")
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    pub labels: Labels,
    pub annotations: Labels,
    /// `pending` or `firing`.
    pub state: String,
}

impl Alert {
    pub fn name(&self) -> &str {
        &self.labels["alertname"]
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    pub name: String,
    pub query: String,
    /// `unknown` until the first evaluation, then `ok` or `err`.
    pub health: String,
}

pub struct Prometheus {
    addr: SocketAddr,
    _process: Process,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes these targets and evaluates these rule files at `interval`, and waits until it
    /// serves.
    pub async fn start(targets: &[Target], interval: &str, rules: &[&Path]) -> Self {
        let sandbox = Sandbox::new();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let file = sandbox.dir().join("prometheus.json");
        // JSON is YAML.
        let config = config(targets, interval, rules).to_string();
        fs::write(&file, config).expect("the sandbox is writable");

        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", sandbox.dir().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--log.level=warn");
        let mut process = sandbox.spawn(command);

        let deadline = Instant::now() + LIMIT;
        let ready = format!("GET /-/ready HTTP/1.0\r\nHost: {addr}\r\n\r\n");
        while !http::try_send(addr, &ready).await.is_ok_and(|answer| answer.status == 200) {
            let gone = process.exited().is_some() || Instant::now() > deadline;
            assert!(!gone, "prometheus does not answer on {addr}");
            sleep(POLL).await;
        }
        Self { addr, _process: process }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The result of an expression now, or Prometheus' error.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let data = self.get("query", &[("query", expression)]).await?;
        // A scalar has no labels.
        match data["resultType"].as_str() {
            Some("scalar") => {
                Ok(vec![Sample { labels: Labels::new(), value: read(&data, "result") }])
            }
            _ => Ok(read(&data, "result")),
        }
    }

    /// The result of an expression over the last `seconds`, every `step` seconds.
    pub async fn query_range(
        &self,
        expression: &str,
        seconds: f64,
        step: f64,
    ) -> Result<Vec<Series>, String> {
        let end = std::time::UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs_f64();
        let [start, end, step] = [end - seconds, end, step].map(|number| number.to_string());
        let parameters = [("query", expression), ("start", &start), ("end", &end), ("step", &step)];
        Ok(read(&self.get("query_range", &parameters).await?, "result"))
    }

    /// The values of a label in the series of a selector.
    pub async fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>, String> {
        let data = self.get(&format!("label/{label}/values"), &[("match[]", selector)]).await?;
        Ok(serde_json::from_value(data).expect("a list of texts"))
    }

    /// All pending and firing alerts.
    pub async fn alerts(&self) -> Vec<Alert> {
        let data = self.get("alerts", &[]).await.expect("a list of alerts");
        read(&data, "alerts")
    }

    /// All rules of its files.
    pub async fn rules(&self) -> Vec<Rule> {
        let data = self.get("rules", &[]).await.expect("a list of rules");
        let groups = data["groups"].as_array().expect("groups of rules").iter();
        groups.flat_map(|group| read::<Vec<Rule>>(group, "rules")).collect()
    }

    /// Waits until the result of an expression satisfies `wanted`.
    pub async fn becomes(&self, expression: &str, wanted: impl Fn(&[Sample]) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let samples = self.query(expression).await.expect("an expression");
            if wanted(&samples) {
                return;
            }
            assert!(Instant::now() < deadline, "{expression} is {samples:#?}");
            sleep(POLL).await;
        }
    }

    /// The data of an API response, or its error.
    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let parameter =
            |(name, value): &(&str, &str)| format!("{}={}", encode(name), encode(value));
        let query = parameters.iter().map(parameter).collect::<Vec<_>>().join("&");
        // HTTP/1.0 responses are not chunked.
        let request = format!("GET /api/v1/{path}?{query} HTTP/1.0\r\nHost: {}\r\n\r\n", self.addr);
        let mut answer = http::send(self.addr, &request).await.json();
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => Err(answer["error"].as_str().expect("an error has words").to_owned()),
        }
    }
}

fn config(targets: &[Target], interval: &str, rules: &[&Path]) -> Value {
    let mut jobs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for target in targets {
        jobs.entry(target.job()).or_default().push(target.config());
    }
    let jobs = jobs
        .into_iter()
        .map(|(job, targets)| json!({ "job_name": job, "static_configs": targets }));
    json!({
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "rule_files": rules,
        "scrape_configs": jobs.collect::<Vec<_>>(),
    })
}

fn read<T: DeserializeOwned>(data: &Value, name: &str) -> T {
    T::deserialize(&data[name]).unwrap_or_else(|error| panic!("{error}: {data}"))
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
