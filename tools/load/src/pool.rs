//! The clients of a run, and the connections that failed.

use crate::arguments::Plan;
use crate::client;
use crate::open::{OpenClient, open};
use crate::protocol::RunId;
use crate::reasons;
use crate::run::Run;
use crate::target::Endpoint;
use futures_util::stream::{StreamExt, iter};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use warren_client::http;

/// Handshakes in progress at any time.
const MAX_OPENING: usize = 64;
/// Commands that may wait for one publisher's socket: beyond as many the server reads no further anyway.
const MAX_COMMANDS: usize = 256;

/// All clients of a run.
pub(crate) struct ClientPool<'a> {
    plan: &'a Plan,
    endpoints: &'a [Endpoint],
    channel: String,
    tls: Arc<ClientConfig>,
    pub(crate) run: Rc<Run>,
    tasks: JoinSet<()>,
    publishers: Vec<mpsc::Sender<String>>,
    /// Open clients by the name of their replica.
    pub(crate) replicas: BTreeMap<String, u64>,
    /// Clients that could not connect, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Time to open all clients.
    pub(crate) opened_in: Duration,
}

impl<'a> ClientPool<'a> {
    pub(crate) fn new(plan: &'a Plan, endpoints: &'a [Endpoint]) -> Result<Self, rustls::Error> {
        let unique = || format!("warren-load-{:016x}", fastrand::u64(..));
        Ok(Self {
            plan,
            endpoints,
            channel: plan.channel.clone().unwrap_or_else(unique),
            tls: Arc::new(http::tls_config()?),
            run: Rc::new(Run::new(RunId::new(), plan.publishers, plan.pace)),
            tasks: JoinSet::new(),
            publishers: Vec::new(),
            replicas: BTreeMap::new(),
            refused: BTreeMap::new(),
            opened_in: Duration::ZERO,
        })
    }

    /// Opens all clients, the publishers first.
    pub(crate) async fn open_all(&mut self) {
        let start = Instant::now();
        self.open(0..self.plan.publishers, true).await;
        self.open(self.plan.publishers..self.plan.clients, false).await;
        self.opened_in = start.elapsed();
    }

    /// Takes the queues of the publishers' commands.
    pub(crate) fn take_publishers(&mut self) -> Vec<mpsc::Sender<String>> {
        std::mem::take(&mut self.publishers)
    }

    /// Waits until all clients have ended.
    pub(crate) async fn join_all(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    async fn open(&mut self, numbers: Range<usize>, publishes: bool) {
        let (endpoints, tls, run) = (self.endpoints, self.tls.clone(), self.run.clone());
        let channel = self.channel.clone();
        let opening = numbers.map(|number| {
            let endpoint = &endpoints[number % endpoints.len()];
            open(endpoint, &tls, &channel, publishes, &run.id)
        });
        let mut opening = iter(opening).buffer_unordered(MAX_OPENING);
        while let Some(opened) = opening.next().await {
            match opened {
                Ok(client) => self.add(client, publishes),
                Err(reason) => reasons::count(&mut self.refused, &reason),
            }
        }
    }

    fn add(&mut self, OpenClient { socket, replica }: OpenClient, publishes: bool) {
        *self.replicas.entry(replica).or_default() += 1;
        let number = self.run.results.borrow_mut().ledger.add_client();
        let commands = publishes.then(|| {
            let (publisher, commands) = mpsc::channel(MAX_COMMANDS);
            self.publishers.push(publisher);
            commands
        });
        self.tasks.spawn_local(client::serve(number, socket, commands, self.run.clone()));
    }
}
