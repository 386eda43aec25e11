//! What happens to a replica: the same in both houses.

use super::{Finding, any_seat, lasts};
use crate::seat::Seat;
use crate::world::World;
use fastrand::Rng;
use futures_util::future::join_all;
use std::fs;
use std::process::Command;
use std::rc::Rc;
use warren_testkit::{LIMIT, open_files};

pub async fn killed(world: &World, rng: &mut Rng) -> Finding {
    join_all(world.pair(any_seat(rng)).map(async |seat| {
        let mut replica = seat.replica.lock().await;
        replica.kill();
        lasts(1).await;
        seat.start_again(&mut replica).await;
    }))
    .await;
    Finding::default()
}

pub async fn stopped(world: &World, rng: &mut Rng) -> Finding {
    join_all(world.pair(any_seat(rng)).map(async |seat| {
        let mut replica = seat.replica.lock().await;
        replica.process.signal("STOP");
        lasts(8).await;
        replica.process.signal("CONT");
    }))
    .await;
    Finding::default()
}

pub async fn drained(world: &World, rng: &mut Rng) -> Finding {
    let codes = join_all(world.pair(any_seat(rng)).map(async |seat| {
        let mut replica = seat.replica.lock().await;
        replica.process.signal("TERM");
        let status = replica.process.ended(LIMIT).await;
        seat.start_again(&mut replica).await;
        status.code()
    }))
    .await;
    let wrong = (codes != [Some(0), Some(0)]).then(|| format!("exit codes {codes:?}"));
    Finding { wrong, ..Finding::default() }
}

/// It may open not one file more, for a while.
pub async fn without_files(world: &World, rng: &mut Rng) -> Finding {
    join_all(world.pair(any_seat(rng)).map(async |seat| {
        let id = seat.replica.lock().await.process.id();
        open_files::allow_no_more(id);
        lasts(6).await;
        open_files::allow_again(id);
    }))
    .await;
    Finding::default()
}

/// A library between it and the kernel has its clock go an hour ahead, and then two back. The clock of
/// the machine stays as it is.
pub async fn clock_stepped(world: &World, rng: &mut Rng) -> Finding {
    join_all(world.pair(any_seat(rng)).map(async |seat| {
        let clock = std::env::temp_dir().join(format!("{}-{}", seat.name, std::process::id()));
        let step = |offset: &str| fs::write(&clock, format!("{offset}\n")).expect("a file");
        step("+0s");
        restart(
            seat,
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
            lasts(4).await;
        }
        let none = [
            "LD_PRELOAD",
            "FAKETIME_TIMESTAMP_FILE",
            "FAKETIME_NO_CACHE",
            "FAKETIME_DONT_FAKE_MONOTONIC",
        ];
        restart(seat, &none.map(|name| (name, None))).await;
        let _ = fs::remove_file(&clock);
    }))
    .await;
    Finding::default()
}

async fn restart(seat: &Rc<Seat>, settings: &[(&str, Option<&str>)]) {
    let mut replica = seat.replica.lock().await;
    replica.kill();
    for (name, value) in settings {
        replica.set(name, *value);
    }
    seat.start_again(&mut replica).await;
    assert!(seat.becomes_ready(true).await, "{} is ready again", seat.name);
}

/// Where Debian has it, which depends on the architecture.
fn library() -> String {
    let output = Command::new("dpkg").args(["-L", "libfaketime"]).output();
    let list = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let found = list.ok().and_then(|list| {
        list.lines().find(|line| line.ends_with("/libfaketime.so.1")).map(Into::into)
    });
    found.expect("libfaketime: run `make setup`, or `apt-get install libfaketime`")
}
