//! The result of a round: counts for each replica set, and the tables in docs/reliability.md.

use crate::faults::Tolerance;
use crate::ledger::DeliveryMode;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The error of a publisher that receives no answer in time.
pub const NO_ANSWER: &str = "no answer";

/// The result of one round for one replica set.
#[derive(Clone, Debug, Default)]
pub struct SetReport {
    /// Numbers that were confirmed.
    pub confirmed: usize,
    /// Pairs of a follower and a confirmed number that it did not receive, without a reported gap.
    pub lost_silently: usize,
    /// Pairs of a follower and a confirmed number that it did not receive, with a reported gap.
    pub lost_with_gap: usize,
    /// Numbers that a follower received twice.
    pub duplicates: usize,
    /// Numbers that a follower received twice, the second time after a reported gap.
    pub repeated_after_gap: usize,
    /// Numbers that a follower received in another order than other followers.
    pub out_of_order: usize,
    /// Followers to which a gap was reported.
    pub followers_with_gap: usize,
    /// Followers to which no gap was reported.
    pub followers_without_gap: usize,
    /// Errors of publishers and followers, with their counts.
    pub errors: BTreeMap<String, usize>,
    /// Numbers whose publisher gave up.
    pub abandoned: usize,
    /// The most followers that resumed within one second.
    pub resumes: usize,
    /// The longest time without a confirmation.
    pub stall: Duration,
    /// The longest time in which a follower received nothing.
    pub silence: Duration,
    /// The longest time that a replica was unready.
    pub unready: Duration,
    /// The most memory of a replica, in bytes.
    pub memory: usize,
    /// The first violation of a guarantee.
    pub violation: Option<String>,
}

/// The result of one round.
pub struct RoundReport {
    pub fault: String,
    /// Time from the beginning of the fault until it was detected, if there is a limit for that.
    pub detected_after: Option<Duration>,
    /// Time from the end of the fault until everything had recovered.
    pub recovered_after: Duration,
    /// The set with `log`, and the set with `live`.
    pub sets: [SetReport; 2],
}

impl SetReport {
    /// Describes the violations of the guarantees, if there are any. With `log`, no gap may be reported,
    /// unless the log was lost: then one must be reported to every follower. Publishers must be answered,
    /// unless their connections were interrupted.
    pub fn violations(&self, delivery_mode: DeliveryMode, tolerance: Tolerance) -> Option<String> {
        let mut violations = self.lost_silently + self.duplicates + self.out_of_order;
        if delivery_mode == DeliveryMode::Log {
            violations += match tolerance.log_loss {
                true => self.followers_without_gap,
                false => self.lost_with_gap + self.followers_with_gap,
            };
        }
        let forbidden = match tolerance.no_answer {
            true => &["500", "closed 1011"][..],
            false => &["500", "closed 1011", NO_ANSWER],
        };
        violations += forbidden.iter().filter(|error| self.errors.contains_key(**error)).count();
        if self.confirmed == 0 {
            return Some(format!("{delivery_mode:?}: nothing was confirmed"));
        }
        let first = self.violation.as_deref().unwrap_or_default();
        (violations > 0 || self.violation.is_some())
            .then(|| format!("{delivery_mode:?}: {self:?} {first}"))
    }
}

impl RoundReport {
    /// One line, printed at the end of the round.
    pub fn line(&self) -> String {
        let [log, live] = &self.sets;
        let mut line = format!(
            "{:<32} recovered after {:>5.1} s | log {:>5} confirmed, {} lost, {} duplicates, \
             {} out of order, {} lost with a gap reported | live {:>5} confirmed, {} lost silently, \
             {} lost with a gap reported",
            self.fault,
            self.recovered_after.as_secs_f64(),
            log.confirmed,
            log.lost_silently,
            log.duplicates,
            log.out_of_order,
            log.lost_with_gap,
            live.confirmed,
            live.lost_silently,
            live.lost_with_gap,
        );
        if let Some(detected_after) = self.detected_after {
            let _ = write!(line, " | detected after {:.1} s", detected_after.as_secs_f64());
        }
        line
    }
}

/// The tables in docs/reliability.md: a summary, the results for messages, and the effects of each fault.
pub fn tables(rounds: &[RoundReport]) -> String {
    format!("{}\n{}\n{}", summary(rounds), messages(rounds), effects(rounds))
}

/// The sums over all rounds, in one line.
fn summary(rounds: &[RoundReport]) -> String {
    let sum = |set: usize, of: fn(&SetReport) -> usize| -> usize {
        rounds.iter().map(|round| of(&round.sets[set])).sum()
    };
    format!(
        "{} faults. With `log`, {} messages were confirmed: {} lost, {} duplicates, {} out of order. With \
         `live`, {} were confirmed: {} lost with a gap reported, {} lost silently.\n",
        rounds.len(),
        sum(0, |set| set.confirmed),
        sum(0, |set| set.lost_silently),
        sum(0, |set| set.duplicates),
        sum(0, |set| set.out_of_order),
        sum(1, |set| set.confirmed),
        sum(1, |set| set.lost_with_gap),
        sum(1, |set| set.lost_silently),
    )
}

fn messages(rounds: &[RoundReport]) -> String {
    let mut table = "\
| fault | `log`: confirmed | lost | duplicates | out of order | gap reported | `live`: confirmed | \
lost, gap reported | lost silently |
| --- | --: | --: | --: | --: | --: | --: | --: | --: |
"
    .to_owned();
    for RoundReport { fault, sets: [log, live], .. } in rounds {
        let _ = writeln!(
            table,
            "| {fault} | {} | {} | {} | {} | {} | {} | {} | {} |",
            log.confirmed,
            log.lost_silently,
            log.duplicates,
            log.out_of_order,
            log.lost_with_gap,
            live.confirmed,
            live.lost_with_gap,
            live.lost_silently,
        );
    }
    table
}

fn effects(rounds: &[RoundReport]) -> String {
    let mut table = "\
| fault | errors | stall | silence | detected after | unready | recovered after | memory | resumes/s |
| --- | --- | --: | --: | --: | --: | --: | --: | --: |
"
    .to_owned();
    for RoundReport { fault, detected_after, recovered_after, sets: [log, live] } in rounds {
        let longest = |of: fn(&SetReport) -> Duration| seconds(of(log).max(of(live)));
        let _ = writeln!(
            table,
            "| {fault} | {} | {} | {} | {} | {} | {} | {:.0} MB | {} |",
            errors(log, live),
            longest(|set| set.stall),
            longest(|set| set.silence),
            detected_after.map(seconds).unwrap_or_default(),
            longest(|set| set.unready),
            seconds(*recovered_after),
            log.memory.max(live.memory) as f64 / 1e6,
            log.resumes.max(live.resumes),
        );
    }
    table
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// The errors of both sets, each with its count.
fn errors(log: &SetReport, live: &SetReport) -> String {
    let mut all = log.errors.clone();
    for (error, count) in &live.errors {
        *all.entry(error.clone()).or_default() += count;
    }
    let abandoned = log.abandoned + live.abandoned;
    if abandoned > 0 {
        all.insert("abandoned".to_owned(), abandoned);
    }
    all.iter().map(|(error, count)| format!("{count} × {error}")).collect::<Vec<_>>().join(", ")
}
