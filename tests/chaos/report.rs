//! What became of everybody in the time of one fault, and the table of it.

use crate::faults::Excuses;
use crate::ledger::Delivery;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// What a publisher was refused with that nobody answered.
pub const UNANSWERED: &str = "no answer";

/// One house in the time of one fault.
#[derive(Clone, Debug, Default)]
pub struct Chapter {
    /// Numbers that were confirmed.
    pub confirmed: usize,
    /// Pairs of a client and a confirmed number that it never got, and was not told of.
    pub lost: usize,
    /// The same, and it was told.
    pub told: usize,
    /// Numbers that came a second time.
    pub twice: usize,
    /// The same, to clients that were told that something may be missing.
    pub again: usize,
    /// Numbers that came in another order than elsewhere.
    pub disorder: usize,
    /// Clients that were told that something may be missing.
    pub gaps: usize,
    /// Clients that were not.
    pub untold: usize,
    /// What clients were refused with.
    pub refusals: BTreeMap<String, usize>,
    /// Numbers whose publisher gave up.
    pub unknown: usize,
    /// The most followers that came back within one second.
    pub reconnects: usize,
    /// The longest time without a confirmation.
    pub stall: Duration,
    /// The longest time in which some follower heard nothing.
    pub silence: Duration,
    /// The longest that a replica was not ready.
    pub unready: Duration,
    /// The most memory of a replica, in bytes.
    pub memory: usize,
    /// The first thing that must not be.
    pub wrong: Option<String>,
}

/// One fault.
pub struct Entry {
    pub fault: String,
    /// From its beginning until it was noticed, where that is promised.
    pub noticed: Option<Duration>,
    /// From its end until everybody was whole.
    pub whole: Duration,
    /// By house.
    pub chapters: [Chapter; 2],
}

impl Chapter {
    /// What is against the promises. With the log, nobody is told that something may be missing, unless
    /// it was destroyed; then everybody is. Whoever publishes is answered, unless the way is cut.
    pub fn broken(&self, delivery: Delivery, excuses: Excuses) -> Option<String> {
        let Excuses { destroys, cuts } = excuses;
        let mut broken = self.lost + self.twice + self.disorder;
        if delivery == Delivery::Log {
            broken += if destroys { self.untold } else { self.told + self.gaps };
        }
        let never =
            if cuts { &["500", "closed 1011"][..] } else { &["500", "closed 1011", UNANSWERED] };
        broken += never.iter().filter(|with| self.refusals.contains_key(**with)).count();
        if self.confirmed == 0 {
            return Some(format!("{delivery:?}: nothing was confirmed"));
        }
        let wrong = self.wrong.as_deref().unwrap_or_default();
        (broken > 0 || self.wrong.is_some()).then(|| format!("{delivery:?}: {self:?} {wrong}"))
    }
}

impl Entry {
    /// For whoever waits: one line.
    pub fn line(&self) -> String {
        let [log, live] = &self.chapters;
        let mut line = format!(
            "{:<32} whole after {:>5.1} s | log {:>5} confirmed, {} lost, {} twice, {} out of order, \
             {} told | live {:>5} confirmed, {} silently lost, {} told",
            self.fault,
            self.whole.as_secs_f64(),
            log.confirmed,
            log.lost,
            log.twice,
            log.disorder,
            log.told,
            live.confirmed,
            live.lost,
            live.told,
        );
        if let Some(noticed) = self.noticed {
            let _ = write!(line, " | noticed after {:.1} s", noticed.as_secs_f64());
        }
        line
    }
}

/// As it stands in docs/reliability.md: what became of messages, and what it cost.
pub fn tables(entries: &[Entry]) -> String {
    format!("{}\n{}\n{}", summary(entries), messages(entries), costs(entries))
}

/// All of it in one line.
fn summary(entries: &[Entry]) -> String {
    let sum = |house: usize, of: fn(&Chapter) -> usize| -> usize {
        entries.iter().map(|entry| of(&entry.chapters[house])).sum()
    };
    format!(
        "{} faults. With `log`, {} messages were confirmed: {} lost, {} duplicates, {} out of order. With \
         `live`, {} were confirmed: {} lost with a gap reported, {} lost silently.\n",
        entries.len(),
        sum(0, |chapter| chapter.confirmed),
        sum(0, |chapter| chapter.lost),
        sum(0, |chapter| chapter.twice),
        sum(0, |chapter| chapter.disorder),
        sum(1, |chapter| chapter.confirmed),
        sum(1, |chapter| chapter.told),
        sum(1, |chapter| chapter.lost),
    )
}

fn messages(entries: &[Entry]) -> String {
    let mut table = "\
| fault | `log`: confirmed | lost | duplicates | out of order | gap reported | `live`: confirmed | \
lost, gap reported | lost silently |
| --- | --: | --: | --: | --: | --: | --: | --: | --: |
"
    .to_owned();
    for Entry { fault, chapters: [log, live], .. } in entries {
        let _ = writeln!(
            table,
            "| {fault} | {} | {} | {} | {} | {} | {} | {} | {} |",
            log.confirmed,
            log.lost,
            log.twice,
            log.disorder,
            log.told,
            live.confirmed,
            live.told,
            live.lost,
        );
    }
    table
}

fn costs(entries: &[Entry]) -> String {
    let mut table = "\
| fault | errors | stall | silence | detected after | unready | recovered after | memory | resumes/s |
| --- | --- | --: | --: | --: | --: | --: | --: | --: |
"
    .to_owned();
    for Entry { fault, noticed, whole, chapters: [log, live] } in entries {
        let most = |of: fn(&Chapter) -> Duration| seconds(of(log).max(of(live)));
        let _ = writeln!(
            table,
            "| {fault} | {} | {} | {} | {} | {} | {} | {:.0} MB | {} |",
            refusals(log, live),
            most(|chapter| chapter.stall),
            most(|chapter| chapter.silence),
            noticed.map(seconds).unwrap_or_default(),
            most(|chapter| chapter.unready),
            seconds(*whole),
            log.memory.max(live.memory) as f64 / 1e6,
            log.reconnects.max(live.reconnects),
        );
    }
    table
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// With what, and how often.
fn refusals(log: &Chapter, live: &Chapter) -> String {
    let mut all = log.refusals.clone();
    for (with, count) in &live.refusals {
        *all.entry(with.clone()).or_default() += count;
    }
    let unknown = log.unknown + live.unknown;
    if unknown > 0 {
        all.insert("abandoned".to_owned(), unknown);
    }
    all.iter().map(|(with, count)| format!("{count} × {with}")).collect::<Vec<_>>().join(", ")
}
