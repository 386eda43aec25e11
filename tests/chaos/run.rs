//! One fault after another, and the ledger after each.

use crate::arguments::Arguments;
use crate::faults::{DISK_FULL, Excuses, FAULTS, Fault};
use crate::report::{Chapter, Entry, tables};
use crate::world::World;
use fastrand::Rng;
use futures_util::future::join;
use std::fs;
use std::iter::zip;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use warren_testkit::open_files::allow_open_files;

/// Sockets of those who open thousands, at both ends of proxies.
const FILES: u64 = 12_000;
/// Faults in whose time somebody must have come back to what only the log had.
const FEW: usize = 20;
/// Between the beginnings of two faults that overlap, in milliseconds.
const APART: u64 = 3_000;

/// Runs what was asked for; what is broken afterwards.
pub async fn run(arguments: &Arguments) -> Vec<String> {
    allow_open_files(FILES);
    let chosen: Vec<_> = FAULTS.iter().filter(|fault| arguments.choose(fault)).collect();
    if chosen.is_empty() && arguments.random == 0 {
        return Vec::new();
    }
    println!("seed={}", arguments.seed);
    let mut rng = Rng::with_seed(arguments.seed);
    let fills_disks = arguments.random > 0 || chosen.iter().any(|fault| fault.name == DISK_FULL);
    let world = World::build(arguments.seed, fills_disks).await;
    let mut outcome = Outcome { entries: Vec::new(), broken: Vec::new(), replays: 0.0 };
    for fault in chosen {
        outcome.add(chapter(&world, &[fault], &mut rng).await);
        outcome.replays += world.replays().await;
    }
    for _ in 0..arguments.random {
        // What happens is decided by the seed alone, before it happens.
        let mut dice = rng.fork();
        let first = &FAULTS[dice.usize(..FAULTS.len())];
        let second = &FAULTS[dice.usize(..FAULTS.len())];
        let faults = [first, second];
        let alone = first.subject == second.subject || dice.bool();
        let faults = if alone { &faults[..1] } else { &faults[..] };
        outcome.add(chapter(&world, faults, &mut dice).await);
    }
    println!("\n{}", tables(&outcome.entries));
    // Who does not need the log does not show that it is read right.
    if outcome.entries.len() >= FEW && outcome.replays == 0.0 {
        outcome.broken.push("nobody came back to what only the log had".to_owned());
    }
    if let Some(file) = &arguments.write {
        write(file, arguments.seed, &outcome.entries);
    }
    outcome.broken
}

struct Outcome {
    entries: Vec<Entry>,
    broken: Vec<String>,
    /// Followers that got from the log what they missed.
    replays: f64,
}

impl Outcome {
    fn add(&mut self, (entry, broken): (Entry, Option<String>)) {
        println!("{}", entry.line());
        if let Some(broken) = broken {
            println!("    BROKEN {broken}");
            self.broken.push(format!("{}: {broken}", entry.fault));
        }
        self.entries.push(entry);
    }
}

/// One fault, or two that overlap, until everybody is whole again.
async fn chapter(world: &World, faults: &[&Fault], rng: &mut Rng) -> (Entry, Option<String>) {
    for house in &world.houses {
        house.ledger.begin();
    }
    for seat in world.seats() {
        seat.begin();
    }
    let findings = match faults {
        [one] => vec![one.run(world, rng).await],
        [one, two, ..] => {
            let (mut other, apart) = (rng.fork(), Duration::from_millis(rng.u64(..APART)));
            let later = async {
                sleep(apart).await;
                two.run(world, &mut other).await
            };
            let (one, two) = join(one.run(world, rng), later).await;
            vec![one, two]
        }
        [] => Vec::new(),
    };
    let mended = Instant::now();
    let mut closed = world.whole().await;
    let whole = mended.elapsed();

    let excuses = Excuses::of(faults);
    if excuses.destroys
        && let Ok(confirmed) = &mut closed
    {
        // Somebody may have come to the new log when the first had.
        match world.whole().await {
            Ok(more) => zip(confirmed, more).for_each(|(all, more)| all.extend(more)),
            Err(problem) => closed = Err(problem),
        }
    }
    let mut broken: Vec<String> = findings.iter().filter_map(|it| it.wrong.clone()).collect();
    let noticed = findings.iter().filter_map(|finding| finding.noticed).max();
    broken.extend(
        noticed.filter(|(noticed, limit)| noticed > limit).map(|(noticed, limit)| {
            format!("noticed after {noticed:.1?}, which may take {limit:?}")
        }),
    );
    let mut chapters = [Chapter::default(), Chapter::default()];
    match closed {
        Err(problem) => broken.push(problem),
        Ok(confirmed) => {
            for (n, house) in world.houses.iter().enumerate() {
                let mut chapter = house.ledger.settle(&confirmed[n]);
                for seat in &house.seats {
                    let seen = seat.settle().await;
                    chapter.memory = chapter.memory.max(seen.memory);
                    chapter.unready = chapter.unready.max(seen.unready);
                    if chapter.wrong.is_none() {
                        chapter.wrong = seen.wrong;
                    }
                }
                broken.extend(chapter.broken(house.ledger.delivery, excuses));
                chapters[n] = chapter;
            }
        }
    }
    let mut fault = faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join(" + ");
    if findings.iter().any(|finding| finding.reminded) {
        fault += " (RabbitMQ reminded)";
    }
    let noticed = noticed.map(|(noticed, _)| noticed);
    let entry = Entry { fault, noticed, whole, chapters };
    (entry, (!broken.is_empty()).then(|| broken.join("; ")))
}

/// Puts the table between the two marks in a document.
fn write(file: &Path, seed: u64, entries: &[Entry]) {
    const BEGIN: &str = "<!-- chaos: begin -->\n";
    const END: &str = "<!-- chaos: end -->\n";
    let document = fs::read_to_string(file).expect("the document");
    let (before, rest) = document.split_once(BEGIN).expect("a mark where the table begins");
    let (_, after) = rest.split_once(END).expect("a mark where it ends");
    let tables = tables(entries);
    let text = format!("{before}{BEGIN}\nSeed {seed}. {tables}\n{END}{after}");
    fs::write(file, text).expect("the document can be written");
}
