//! A replica in the test's own process.

use std::ops::Deref;
use std::thread::JoinHandle;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;
use warren::app::{Application, Error};
use warren_config::Config;
use warren_testkit::LIMIT;
use warren_testkit::endpoints::Endpoints;

/// A replica on a thread and ports of its own. It shuts down when it is dropped.
pub struct Replica {
    endpoints: Endpoints,
    /// Asks the replica to shut down.
    shutdown: Option<oneshot::Sender<()>>,
    /// Receives the outcome when the replica has shut down.
    outcome: oneshot::Receiver<Result<(), Error>>,
    thread: JoinHandle<()>,
}

impl Deref for Replica {
    type Target = Endpoints;

    fn deref(&self) -> &Endpoints {
        &self.endpoints
    }
}

impl Replica {
    /// Starts a replica with these settings, whose names are without the prefix, and does not wait until it
    /// is ready. It drains without delay unless the settings say otherwise.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        const DEFAULTS: [(&str, &str); 5] = [
            ("LISTEN", "127.0.0.1:0"),
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("WORKERS", "2"),
            ("DRAIN_DELAY", "0s"),
            ("DRAIN_PERIOD", "0s"),
        ];
        let is_set = |name: &str| settings.iter().any(|(other, _)| *other == name);
        let defaults = DEFAULTS.iter().filter(|(name, _)| !is_set(name));
        let variables = defaults
            .chain(settings)
            .map(|(name, value)| (format!("WARREN_{name}").into(), (*value).into()));
        let config = Config::from_vars(variables).expect("valid settings");
        let application = Application::build(config).expect("free ports");
        let endpoints = Endpoints { addr: application.addr(), admin: application.admin_addr() };
        let (shutdown, shut_down) = oneshot::channel();
        let (ended, outcome) = oneshot::channel();
        // As in the program: one thread with a runtime, and those of the workers.
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let result = runtime.block_on(application.run(async {
                let _ = shut_down.await;
            }));
            let _ = ended.send(result);
        });
        Self { endpoints, shutdown: Some(shutdown), outcome, thread }
    }

    /// Starts a replica and waits until it is ready.
    pub async fn ready(settings: &[(&str, &str)]) -> Self {
        let replica = Self::start(settings);
        replica.becomes_ready(true).await;
        replica
    }

    /// Asks the replica to shut down, as SIGTERM does.
    pub fn shut_down(&mut self) {
        drop(self.shutdown.take());
    }

    /// Waits until the replica, which was asked to shut down, has done so in order.
    pub async fn ended(self) {
        let outcome = timeout(LIMIT, self.outcome).await.expect("the end in time");
        outcome.expect("no panic").expect("a shutdown in order");
        self.thread.join().expect("no panic");
    }
}
