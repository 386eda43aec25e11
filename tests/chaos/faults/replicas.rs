//! Faults of one replica, in both deployments alike.

use super::{FaultOutcome, any_slot, wait_seconds};
use crate::replica_slot::ReplicaSlot;
use crate::system::System;
use fastrand::Rng;
use futures_util::future::join_all;
use std::fs;
use std::process::Command;
use std::rc::Rc;
use warren_testkit::{LIMIT, open_files};

pub async fn killed(system: &System, rng: &mut Rng) -> FaultOutcome {
    join_all(system.pair(any_slot(rng)).map(async |slot| {
        let mut replica = slot.replica.lock().await;
        replica.kill();
        wait_seconds(1).await;
        slot.start_again(&mut replica).await;
    }))
    .await;
    FaultOutcome::default()
}

pub async fn stopped(system: &System, rng: &mut Rng) -> FaultOutcome {
    join_all(system.pair(any_slot(rng)).map(async |slot| {
        let mut replica = slot.replica.lock().await;
        replica.process.signal("STOP");
        wait_seconds(8).await;
        replica.process.signal("CONT");
    }))
    .await;
    FaultOutcome::default()
}

pub async fn drained(system: &System, rng: &mut Rng) -> FaultOutcome {
    let codes = join_all(system.pair(any_slot(rng)).map(async |slot| {
        let mut replica = slot.replica.lock().await;
        replica.process.signal("TERM");
        let status = replica.process.ended(LIMIT).await;
        slot.start_again(&mut replica).await;
        status.code()
    }))
    .await;
    let wrong = (codes != [Some(0), Some(0)]).then(|| format!("exit codes {codes:?}"));
    FaultOutcome { wrong, ..FaultOutcome::default() }
}

/// Limits the replica to the files that it has open, for some seconds.
pub async fn without_files(system: &System, rng: &mut Rng) -> FaultOutcome {
    join_all(system.pair(any_slot(rng)).map(async |slot| {
        let id = slot.replica.lock().await.process.id();
        open_files::allow_no_more(id);
        wait_seconds(6).await;
        open_files::allow_again(id);
    }))
    .await;
    FaultOutcome::default()
}

/// Sets the replica's clock an hour ahead, then an hour back, with libfaketime. The machine's clock stays as it is.
pub async fn clock_stepped(system: &System, rng: &mut Rng) -> FaultOutcome {
    join_all(system.pair(any_slot(rng)).map(async |slot| {
        let clock = std::env::temp_dir().join(format!("{}-{}", slot.name, std::process::id()));
        let step = |offset: &str| fs::write(&clock, format!("{offset}\n")).expect("a file");
        step("+0s");
        restart(
            slot,
            &[
                ("LD_PRELOAD", Some(&library())),
                ("FAKETIME_TIMESTAMP_FILE", clock.to_str()),
                ("FAKETIME_NO_CACHE", Some("1")),
                ("FAKETIME_DONT_FAKE_MONOTONIC", Some("1")),
            ],
        )
        .await;
        for offset in ["+3600s", "-3600s", "+0s"] {
            step(offset);
            wait_seconds(4).await;
        }
        let none = [
            "LD_PRELOAD",
            "FAKETIME_TIMESTAMP_FILE",
            "FAKETIME_NO_CACHE",
            "FAKETIME_DONT_FAKE_MONOTONIC",
        ];
        restart(slot, &none.map(|name| (name, None))).await;
        let _ = fs::remove_file(&clock);
    }))
    .await;
    FaultOutcome::default()
}

async fn restart(slot: &Rc<ReplicaSlot>, settings: &[(&str, Option<&str>)]) {
    let mut replica = slot.replica.lock().await;
    replica.kill();
    for (name, value) in settings {
        replica.set(name, *value);
    }
    slot.start_again(&mut replica).await;
    assert!(slot.becomes_ready(true).await, "{} is ready again", slot.name);
}

/// Path of libfaketime on Debian, which depends on the architecture.
fn library() -> String {
    let output = Command::new("dpkg").args(["-L", "libfaketime"]).output();
    let list = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let found = list.ok().and_then(|list| {
        list.lines().find(|line| line.ends_with("/libfaketime.so.1")).map(Into::into)
    });
    found.expect("libfaketime: run `make setup`, or `apt-get install libfaketime`")
}
