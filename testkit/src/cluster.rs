//! A cluster of three RabbitMQ nodes.

use super::LIMIT;
use super::process::POLL;
use super::rabbitmq::{NodeGroup, RabbitMq, node_name};
use futures_util::future::join_all;
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const NODES: usize = 3;
/// Longest time until a stream has a leader.
const FIND: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub nodes: Vec<RabbitMq>,
}

impl Cluster {
    /// Starts three new nodes, and waits until they have joined.
    pub async fn start() -> Self {
        Self::of(&NodeGroup::start().await).await
    }

    /// Starts nodes with small disks, which can be filled. Only root may do that.
    pub async fn on_small_disks() -> Self {
        Self::of(&NodeGroup::on_small_disks().await).await
    }

    async fn of(group: &Arc<NodeGroup>) -> Self {
        let names: Vec<_> = (0..NODES).map(|_| node_name()).collect();
        let mut settings = "cluster_formation.peer_discovery_backend = classic_config\n".to_owned();
        for (n, name) in (1..).zip(&names) {
            writeln!(settings, "cluster_formation.classic_config.nodes.{n} = {name}").unwrap();
        }
        let nodes = names.iter().map(|name| RabbitMq::new(group, name, &settings)).collect();
        let mut cluster = Self { nodes };
        join_all(cluster.nodes.iter_mut().map(RabbitMq::start_again)).await;
        let joined = |status: &Value| status["running_nodes"].as_array().unwrap().len() == NODES;
        cluster.becomes(&["cluster_status"], joined).await;
        cluster
    }

    /// The addresses of all nodes, that of `first` before the others, as in `WARREN_AMQP_URL`.
    pub fn urls(&self, first: usize) -> String {
        let urls = (0..NODES).map(|n| self.nodes[(first + n) % NODES].url());
        urls.collect::<Vec<_>>().join(",")
    }

    /// The node that leads a stream.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let list = self.ask(&["list_queues", "name", "leader"]).await;
        let leader = &row(&list, "name", stream)["leader"];
        let found = self.nodes.iter().position(|node| *leader == node.name());
        found.unwrap_or_else(|| panic!("no node {leader}"))
    }

    /// The node that serves the connection that its client gave this name.
    pub async fn node_of(&self, connection: &str) -> usize {
        self.try_node_of(connection).await.unwrap_or_else(|| panic!("no {connection}"))
    }

    /// The node that serves a connection, if the connection exists.
    pub async fn try_node_of(&self, connection: &str) -> Option<usize> {
        let list = self.ask(&["list_connections", "port", "client_properties"]).await;
        let mut rows = list.as_array().unwrap().iter();
        let row = rows.find(|row| row["client_properties"].to_string().contains(connection));
        let port = &row?["port"];
        self.nodes.iter().position(|node| *port == node.port())
    }

    /// Waits until a stream has all of its members.
    pub async fn has_all_members(&self, stream: &str) {
        let complete =
            |list: &Value| row(list, "name", stream)["online"].as_array().unwrap().len() == NODES;
        self.becomes(&["list_queues", "name", "online"], complete).await;
    }

    /// Waits until RabbitMQ knows the leader of a stream. Returns false if it does not: before 3.11.3 it may go on to
    /// name a leader that is gone (<https://github.com/rabbitmq/rabbitmq-server/issues/6179>).
    pub async fn finds_leader(&self, stream: &str) -> bool {
        let lives = "P = amqqueue:get_pid(Q), rpc:call(node(P), erlang, is_process_alive, [P]).";
        let deadline = Instant::now() + FIND;
        while self.eval(stream, lives).await.trim() != "true" {
            if Instant::now() > deadline {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }

    /// Makes RabbitMQ record the leader again, as in docs/operations.md.
    pub async fn note_leader(&self, stream: &str) {
        let again = "ra:process_command({rabbit_stream_coordinator, node()}, {action_failed, \
                     maps:get(name, amqqueue:get_type_state(Q)), #{action => updating_mnesia}}).";
        self.eval(stream, again).await;
    }

    /// Evaluates an Erlang expression about a stream, which is `Q` in it.
    async fn eval(&self, stream: &str, expression: &str) -> String {
        let lookup = format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{stream}\">>)), "
        );
        self.nodes[0].ctl(&["eval", &(lookup + expression)]).await
    }

    /// Runs `rabbitmqctl` on a running node.
    async fn ask(&self, command: &[&str]) -> Value {
        let node = self.nodes.iter().find(|node| node.is_running()).expect("a running node");
        node.ask(command).await
    }

    async fn becomes(&self, command: &[&str], wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let status = self.ask(command).await;
            if wanted(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "{command:?}: {status}");
            sleep(POLL).await;
        }
    }
}

/// The row of a list that has this value in this column.
pub fn row<'a>(list: &'a Value, column: &str, value: &str) -> &'a Value {
    let mut rows = list.as_array().expect("a list").iter();
    rows.find(|row| row[column] == value).unwrap_or_else(|| panic!("no {value} in {list}"))
}
