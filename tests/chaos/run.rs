//! Runs faults one after another, and evaluates the ledger after each.

use crate::arguments::Arguments;
use crate::faults::{DISK_FULL, Exemptions, FAULTS, Fault};
use crate::report::{DeploymentReport, FaultReport, tables};
use crate::system::System;
use fastrand::Rng;
use futures_util::future::join;
use std::fs;
use std::iter::zip;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use warren_testkit::open_files::allow_open_files;

/// Open files of faults with thousands of sockets, at both ends of proxies.
const FILES: u64 = 12_000;
/// Number of faults after which some subscriber must have resumed from the log.
const FEW: usize = 20;
/// Milliseconds between the beginnings of two overlapping faults, at most.
const APART: u64 = 3_000;

/// Runs the chosen faults. Returns broken promises.
pub async fn run(arguments: &Arguments) -> Vec<String> {
    allow_open_files(FILES);
    let chosen: Vec<_> = FAULTS.iter().filter(|fault| arguments.choose(fault)).collect();
    if chosen.is_empty() && arguments.random == 0 {
        return Vec::new();
    }
    println!("seed={}", arguments.seed);
    let mut rng = Rng::with_seed(arguments.seed);
    let fills_disks = arguments.random > 0 || chosen.iter().any(|fault| fault.name == DISK_FULL);
    let system = System::build(arguments.seed, fills_disks).await;
    let mut outcome = RunReport { entries: Vec::new(), broken: Vec::new(), replays: 0.0 };
    for fault in chosen {
        outcome.add(run_faults(&system, &[fault], &mut rng).await);
        outcome.replays += system.replays().await;
    }
    for _ in 0..arguments.random {
        // All choices are made from the seed, before the fault.
        let mut dice = rng.fork();
        let first = &FAULTS[dice.usize(..FAULTS.len())];
        let second = &FAULTS[dice.usize(..FAULTS.len())];
        let faults = [first, second];
        let alone = first.subject == second.subject || dice.bool();
        let faults = if alone { &faults[..1] } else { &faults[..] };
        outcome.add(run_faults(&system, faults, &mut dice).await);
    }
    println!("\n{}", tables(&outcome.entries));
    // Without replays from the log nothing shows that they are right.
    if outcome.entries.len() >= FEW && outcome.replays == 0.0 {
        outcome.broken.push("no subscriber resumed from the log".to_owned());
    }
    if let Some(file) = &arguments.write {
        write(file, arguments.seed, &outcome.entries);
    }
    outcome.broken
}

struct RunReport {
    entries: Vec<FaultReport>,
    broken: Vec<String>,
    /// Subscribers that resumed from the log.
    replays: f64,
}

impl RunReport {
    fn add(&mut self, (entry, broken): (FaultReport, Option<String>)) {
        println!("{}", entry.line());
        if let Some(broken) = broken {
            println!("    BROKEN {broken}");
            self.broken.push(format!("{}: {broken}", entry.fault));
        }
        self.entries.push(entry);
    }
}

/// Runs one fault, or two overlapping ones, until the system has recovered.
async fn run_faults(
    system: &System,
    faults: &[&Fault],
    rng: &mut Rng,
) -> (FaultReport, Option<String>) {
    for deployment in &system.deployments {
        deployment.ledger.begin_fault();
    }
    for slot in system.slots() {
        slot.begin_fault();
    }
    let outcomes = match faults {
        [one] => vec![one.run(system, rng).await],
        [one, two, ..] => {
            let (mut other, apart) = (rng.fork(), Duration::from_millis(rng.u64(..APART)));
            let later = async {
                sleep(apart).await;
                two.run(system, &mut other).await
            };
            let (one, two) = join(one.run(system, rng), later).await;
            vec![one, two]
        }
        [] => Vec::new(),
    };
    let repaired = Instant::now();
    let mut recovered = system.recovers().await;
    let recovery = repaired.elapsed();

    let exemptions = Exemptions::of(faults);
    if exemptions.destroys
        && let Ok(confirmed) = &mut recovered
    {
        // Some subscriber may have switched to the new log after the first numbers.
        match system.recovers().await {
            Ok(more) => zip(confirmed, more).for_each(|(all, more)| all.extend(more)),
            Err(problem) => recovered = Err(problem),
        }
    }
    let mut broken: Vec<String> = outcomes.iter().filter_map(|it| it.wrong.clone()).collect();
    let detected = outcomes.iter().filter_map(|outcome| outcome.detected).max();
    broken.extend(detected.filter(|(detected, limit)| detected > limit).map(
        |(detected, limit)| format!("detected after {detected:.1?}, above the limit of {limit:?}"),
    ));
    let mut reports = [DeploymentReport::default(), DeploymentReport::default()];
    match recovered {
        Err(problem) => broken.push(problem),
        Ok(confirmed) => {
            for (n, deployment) in system.deployments.iter().enumerate() {
                let mut report = deployment.ledger.end_fault(&confirmed[n]);
                for slot in &deployment.slots {
                    let observed = slot.end_fault().await;
                    report.memory = report.memory.max(observed.memory);
                    report.unready = report.unready.max(observed.unready);
                    if report.wrong.is_none() {
                        report.wrong = observed.wrong;
                    }
                }
                broken.extend(report.broken(deployment.ledger.delivery_mode, exemptions));
                reports[n] = report;
            }
        }
    }
    let mut fault = faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join(" + ");
    if outcomes.iter().any(|outcome| outcome.leader_recorded) {
        fault += " (RabbitMQ reminded)";
    }
    let detected = detected.map(|(detected, _)| detected);
    let entry = FaultReport { fault, detected, recovery, reports };
    (entry, (!broken.is_empty()).then(|| broken.join("; ")))
}

/// Replaces the tables between the two marks in a document.
fn write(file: &Path, seed: u64, entries: &[FaultReport]) {
    const BEGIN: &str = "<!-- chaos: begin -->\n";
    const END: &str = "<!-- chaos: end -->\n";
    let document = fs::read_to_string(file).expect("the document");
    let (before, rest) = document.split_once(BEGIN).expect("a mark where the table begins");
    let (_, after) = rest.split_once(END).expect("a mark where it ends");
    let tables = tables(entries);
    let text = format!("{before}{BEGIN}\nSeed {seed}. {tables}\n{END}{after}");
    fs::write(file, text).expect("the document can be written");
}
