//! Rounds: the time of one fault, or of two that overlap, until everything has recovered and the ledgers are
//! checked.

use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::faults::{DISK_FULL, FAULTS, Fault, Tolerance};
use crate::report::{RoundReport, SetReport, tables};
use fastrand::Rng;
use futures_util::future::join;
use std::fs;
use std::iter::zip;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use warren_testkit::open_files::allow_open_files;

/// Open files that this process may need: some faults open thousands of sockets, at both ends of proxies.
const OPEN_FILES: u64 = 12_000;
/// Number of rounds from which on at least one follower must have resumed by a replay of the log.
const ROUNDS_WITH_REPLAY: usize = 20;
/// Longest time between the beginnings of two faults that overlap, in milliseconds.
const MAX_OFFSET: u64 = 3_000;

/// Runs the faults that the arguments select, and returns the violations.
pub async fn run(arguments: &Arguments) -> Vec<String> {
    allow_open_files(OPEN_FILES);
    let selected: Vec<_> = FAULTS.iter().filter(|fault| arguments.selects(fault)).collect();
    if selected.is_empty() && arguments.random == 0 {
        return Vec::new();
    }
    println!("seed={}", arguments.seed);
    let mut rng = Rng::with_seed(arguments.seed);
    let fills_disks = arguments.random > 0 || selected.iter().any(|fault| fault.name == DISK_FULL);
    let environment = Environment::start(arguments.seed, fills_disks).await;
    let mut results = Results { rounds: Vec::new(), violations: Vec::new(), replays: 0.0 };
    for fault in selected {
        results.add(run_round(&environment, &[fault], &mut rng).await);
        results.replays += environment.replays().await;
    }
    for _ in 0..arguments.random {
        // The seed alone decides what happens, in advance.
        let mut rng = rng.fork();
        let first = &FAULTS[rng.usize(..FAULTS.len())];
        let second = &FAULTS[rng.usize(..FAULTS.len())];
        let faults = [first, second];
        let is_single = first.component == second.component || rng.bool();
        let faults = if is_single { &faults[..1] } else { &faults[..] };
        results.add(run_round(&environment, faults, &mut rng).await);
    }
    println!("\n{}", tables(&results.rounds));
    // Without a replay, the run does not show that replays are complete.
    if results.rounds.len() >= ROUNDS_WITH_REPLAY && results.replays == 0.0 {
        results.violations.push("no follower resumed by a replay of the log".to_owned());
    }
    if let Some(file) = &arguments.write {
        write_tables(file, arguments.seed, &results.rounds);
    }
    results.violations
}

/// The results of all rounds so far.
struct Results {
    rounds: Vec<RoundReport>,
    violations: Vec<String>,
    /// Resumes of followers that were served from the log.
    replays: f64,
}

impl Results {
    fn add(&mut self, (round, violation): (RoundReport, Option<String>)) {
        println!("{}", round.line());
        if let Some(violation) = violation {
            println!("    VIOLATION {violation}");
            self.violations.push(format!("{}: {violation}", round.fault));
        }
        self.rounds.push(round);
    }
}

/// Runs one fault, or two that overlap, until everything has recovered.
async fn run_round(
    environment: &Environment,
    faults: &[&Fault],
    rng: &mut Rng,
) -> (RoundReport, Option<String>) {
    for set in &environment.sets {
        set.ledger.begin_round();
    }
    for replica in environment.replicas() {
        replica.begin_round();
    }
    let outcomes = match faults {
        [one] => vec![one.run(environment, rng).await],
        [one, two, ..] => {
            let (mut other_rng, offset) =
                (rng.fork(), Duration::from_millis(rng.u64(..MAX_OFFSET)));
            let later = async {
                sleep(offset).await;
                two.run(environment, &mut other_rng).await
            };
            let (one, two) = join(one.run(environment, rng), later).await;
            vec![one, two]
        }
        [] => Vec::new(),
    };
    let ended_at = Instant::now();
    let mut recovered = environment.recovered().await;
    let recovered_after = ended_at.elapsed();

    let tolerance = Tolerance::of(faults);
    if tolerance.log_loss
        && let Ok(confirmed) = &mut recovered
    {
        // Some followers may have reached the new log later than others. What was confirmed meanwhile
        // belongs to this round.
        match environment.recovered().await {
            Ok(more) => zip(confirmed, more).for_each(|(all, more)| all.extend(more)),
            Err(problem) => recovered = Err(problem),
        }
    }
    let mut violations: Vec<String> =
        outcomes.iter().filter_map(|outcome| outcome.violation.clone()).collect();
    let detection = outcomes.iter().filter_map(|outcome| outcome.detection).max();
    violations.extend(
        detection
            .filter(|(after, limit)| after > limit)
            .map(|(after, limit)| format!("detected after {after:.1?}, the limit is {limit:?}")),
    );
    let mut sets = [SetReport::default(), SetReport::default()];
    match recovered {
        Err(problem) => violations.push(problem),
        Ok(confirmed) => {
            for (n, set) in environment.sets.iter().enumerate() {
                let mut report = set.ledger.end_round(&confirmed[n]);
                for replica in &set.replicas {
                    let observed = replica.end_round().await;
                    report.memory = report.memory.max(observed.memory);
                    report.unready = report.unready.max(observed.unready);
                    if report.violation.is_none() {
                        report.violation = observed.violation;
                    }
                }
                violations.extend(report.violations(set.ledger.delivery_mode, tolerance));
                sets[n] = report;
            }
        }
    }
    let mut fault = faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join(" + ");
    if outcomes.iter().any(|outcome| outcome.leader_updated) {
        fault += " (leader updated)";
    }
    let detected_after = detection.map(|(after, _)| after);
    let report = RoundReport { fault, detected_after, recovered_after, sets };
    (report, (!violations.is_empty()).then(|| violations.join("; ")))
}

/// Replaces the tables in a document, between their two marks.
fn write_tables(file: &Path, seed: u64, rounds: &[RoundReport]) {
    const BEGIN: &str = "<!-- chaos: begin -->\n";
    const END: &str = "<!-- chaos: end -->\n";
    let document = fs::read_to_string(file).expect("the document");
    let (before, rest) = document.split_once(BEGIN).expect("the mark where the tables begin");
    let (_, after) = rest.split_once(END).expect("the mark where the tables end");
    let tables = tables(rounds);
    let text = format!("{before}{BEGIN}\nSeed {seed}. {tables}\n{END}{after}");
    fs::write(file, text).expect("the document is writable");
}
