//! From addresses to clients that are attended to.

use super::client::attend;
use super::open::{Opened, open};
use super::reasons;
use super::said::Mark;
use super::shared::Shared;
use super::target::Address;
use super::{Failure, Plan};
use futures_util::stream::{StreamExt, iter};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use warren_client::http;

/// Connections that are on their way in at any time.
const AT_ONCE: usize = 64;
/// Frames that may wait for one publisher's socket: beyond as many the server reads no further anyway.
const MAX_ORDERS: usize = 256;

/// Who is there, and who was not let in.
pub(super) struct Crowd<'a> {
    plan: &'a Plan,
    addresses: &'a [Address],
    channel: String,
    tls: Arc<ClientConfig>,
    pub(super) shared: Rc<Shared>,
    pub(super) clients: JoinSet<()>,
    outlets: Vec<mpsc::Sender<Vec<u8>>>,
    pub(super) replicas: BTreeMap<String, u64>,
    pub(super) refused: BTreeMap<String, u64>,
    /// How long it took to open them all.
    pub(super) took: Duration,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(plan: &'a Plan, addresses: &'a [Address]) -> Result<Self, Failure> {
        let unheard_of = || format!("warren-load-{:016x}", fastrand::u64(..));
        Ok(Self {
            plan,
            addresses,
            channel: plan.channel.clone().unwrap_or_else(unheard_of),
            tls: Arc::new(http::tls()?),
            shared: Rc::new(Shared::new(Mark::new(), plan.publishers, plan.pace)),
            clients: JoinSet::new(),
            outlets: Vec::new(),
            replicas: BTreeMap::new(),
            refused: BTreeMap::new(),
            took: Duration::ZERO,
        })
    }

    /// Opens all of them, the publishers first.
    pub(super) async fn gather(&mut self) {
        let start = Instant::now();
        self.admit(0..self.plan.publishers, true).await;
        self.admit(self.plan.publishers..self.plan.clients, false).await;
        self.took = start.elapsed();
    }

    /// Where the frames of each publisher go; when all of these are gone, publishers have nothing to do.
    pub(super) fn outlets(&mut self) -> Vec<mpsc::Sender<Vec<u8>>> {
        std::mem::take(&mut self.outlets)
    }

    async fn admit(&mut self, numbers: std::ops::Range<usize>, publish: bool) {
        let (addresses, tls, shared) = (self.addresses, self.tls.clone(), self.shared.clone());
        let channel = self.channel.clone();
        let opening = numbers.map(|number| {
            let to = &addresses[number % addresses.len()];
            open(to, &tls, &channel, publish, &shared.mark)
        });
        let mut opening = iter(opening).buffer_unordered(AT_ONCE);
        while let Some(opened) = opening.next().await {
            match opened {
                Ok(opened) => self.enter(opened, publish),
                Err(reason) => reasons::count(&mut self.refused, &reason),
            }
        }
    }

    fn enter(&mut self, opened: Opened, publish: bool) {
        *self.replicas.entry(opened.replica.clone()).or_default() += 1;
        let number = self.shared.books.borrow_mut().ledger.join();
        let orders = publish.then(|| {
            let (outlet, orders) = mpsc::channel(MAX_ORDERS);
            self.outlets.push(outlet);
            orders
        });
        self.clients.spawn_local(attend(number, opened, orders, self.shared.clone()));
    }
}
