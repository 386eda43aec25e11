//! Faults of one replica of each set.

use super::{FaultOutcome, hold_for, random_index};
use crate::environment::Environment;
use crate::managed_replica::ManagedReplica;
use fastrand::Rng;
use futures_util::future::join_all;
use std::fs;
use std::process::Command;
use std::rc::Rc;
use warren_testkit::{LIMIT, open_files};

pub async fn killed(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    join_all(environment.replicas_at(random_index(rng)).map(async |managed| {
        let mut replica = managed.replica.lock().await;
        replica.kill();
        hold_for(1).await;
        managed.start_again(&mut replica).await;
    }))
    .await;
    FaultOutcome::default()
}

pub async fn stopped(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    join_all(environment.replicas_at(random_index(rng)).map(async |managed| {
        let mut replica = managed.replica.lock().await;
        replica.process.signal("STOP");
        hold_for(8).await;
        replica.process.signal("CONT");
    }))
    .await;
    FaultOutcome::default()
}

pub async fn drained(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let codes = join_all(environment.replicas_at(random_index(rng)).map(async |managed| {
        let mut replica = managed.replica.lock().await;
        replica.process.signal("TERM");
        let status = replica.process.ended(LIMIT).await;
        managed.start_again(&mut replica).await;
        status.code()
    }))
    .await;
    let violation = (codes != [Some(0), Some(0)]).then(|| format!("exit codes {codes:?}"));
    FaultOutcome { violation, ..FaultOutcome::default() }
}

/// Lowers the limit of open files to those that are open, for a while.
pub async fn without_free_files(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    join_all(environment.replicas_at(random_index(rng)).map(async |managed| {
        let id = managed.replica.lock().await.process.id();
        open_files::allow_no_more(id);
        hold_for(6).await;
        open_files::allow_again(id);
    }))
    .await;
    FaultOutcome::default()
}

/// Steps the clock of a replica forward by an hour, and back by two hours, with libfaketime. The machine's clock
/// does not change.
pub async fn clock_stepped(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    join_all(environment.replicas_at(random_index(rng)).map(async |managed| {
        let clock = std::env::temp_dir().join(format!("{}-{}", managed.name, std::process::id()));
        let step = |offset: &str| fs::write(&clock, format!("{offset}\n")).expect("a file");
        step("+0s");
        restart(
            managed,
            &[
                ("LD_PRELOAD", Some(&libfaketime())),
                ("FAKETIME_TIMESTAMP_FILE", clock.to_str()),
                ("FAKETIME_NO_CACHE", Some("1")),
                ("FAKETIME_DONT_FAKE_MONOTONIC", Some("1")),
            ],
        )
        .await;
        for offset in ["+3600s", "-3600s", "+0s"] {
            step(offset);
            hold_for(4).await;
        }
        let none = [
            "LD_PRELOAD",
            "FAKETIME_TIMESTAMP_FILE",
            "FAKETIME_NO_CACHE",
            "FAKETIME_DONT_FAKE_MONOTONIC",
        ];
        restart(managed, &none.map(|name| (name, None))).await;
        let _ = fs::remove_file(&clock);
    }))
    .await;
    FaultOutcome::default()
}

/// Restarts a replica with other environment variables.
async fn restart(managed: &Rc<ManagedReplica>, settings: &[(&str, Option<&str>)]) {
    let mut replica = managed.replica.lock().await;
    replica.kill();
    for (name, value) in settings {
        replica.set(name, *value);
    }
    managed.start_again(&mut replica).await;
    assert!(managed.becomes_ready().await, "{} is ready again", managed.name);
}

/// The path of libfaketime in Debian, which depends on the architecture.
fn libfaketime() -> String {
    let output = Command::new("dpkg").args(["-L", "libfaketime"]).output();
    let list = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let found = list.ok().and_then(|list| {
        list.lines().find(|line| line.ends_with("/libfaketime.so.1")).map(Into::into)
    });
    found.expect("libfaketime: run `make setup`, or `apt-get install libfaketime`")
}
