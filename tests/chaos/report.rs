//! Results of each fault, and the tables of them.

use crate::faults::Exemptions;
use crate::ledger::DeliveryMode;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Reason recorded for a publish without an answer.
pub const UNANSWERED: &str = "no answer";

/// Results of one deployment during one fault.
#[derive(Clone, Debug, Default)]
pub struct DeploymentReport {
    /// Confirmed numbers.
    pub confirmed: usize,
    /// Pairs of a subscriber and a confirmed number that it missed without a gap.
    pub lost: usize,
    /// Pairs of a subscriber and a confirmed number that it missed with a gap.
    pub lost_with_gap: usize,
    /// Numbers received a second time.
    pub duplicates: usize,
    /// Numbers received a second time after a gap.
    pub again: usize,
    /// Numbers received in another order than by other subscribers.
    pub out_of_order: usize,
    /// Subscribers that got a gap.
    pub gaps: usize,
    /// Subscribers that got no gap.
    pub without_gap: usize,
    /// Refusals by reason.
    pub refusals: BTreeMap<String, usize>,
    /// Numbers that their publisher gave up.
    pub abandoned: usize,
    /// Most subscribers that connected within one second.
    pub reconnects: usize,
    /// Longest time without a confirm.
    pub stall: Duration,
    /// Longest time in which some subscriber received nothing.
    pub silence: Duration,
    /// Longest time in which a replica was not ready.
    pub unready: Duration,
    /// Peak memory of a replica in bytes.
    pub memory: usize,
    /// First violation.
    pub wrong: Option<String>,
}

/// Results of one fault.
pub struct FaultReport {
    pub fault: String,
    /// Time from its beginning until its detection, where that is promised.
    pub detected: Option<Duration>,
    /// Time from its end until the system had recovered.
    pub recovery: Duration,
    /// One report for each deployment.
    pub reports: [DeploymentReport; 2],
}

impl DeploymentReport {
    /// Broken promises. With the log, no subscriber gets a gap, unless the log was destroyed: then all do. Every publish
    /// is answered, unless connections are cut.
    pub fn broken(&self, delivery_mode: DeliveryMode, exemptions: Exemptions) -> Option<String> {
        let Exemptions { destroys, cuts } = exemptions;
        let mut broken = self.lost + self.duplicates + self.out_of_order;
        if delivery_mode == DeliveryMode::Log {
            broken += if destroys { self.without_gap } else { self.lost_with_gap + self.gaps };
        }
        let never =
            if cuts { &["500", "closed 1011"][..] } else { &["500", "closed 1011", UNANSWERED] };
        broken += never.iter().filter(|with| self.refusals.contains_key(**with)).count();
        if self.confirmed == 0 {
            return Some(format!("{delivery_mode:?}: nothing was confirmed"));
        }
        let wrong = self.wrong.as_deref().unwrap_or_default();
        (broken > 0 || self.wrong.is_some()).then(|| format!("{delivery_mode:?}: {self:?} {wrong}"))
    }
}

impl FaultReport {
    /// One line about the fault, for the output.
    pub fn line(&self) -> String {
        let [log, live] = &self.reports;
        let mut line = format!(
            "{:<32} recovered after {:>5.1} s | log {:>5} confirmed, {} lost, {} duplicates, {} out of order, \
             {} lost with a gap | live {:>5} confirmed, {} silently lost, {} lost with a gap",
            self.fault,
            self.recovery.as_secs_f64(),
            log.confirmed,
            log.lost,
            log.duplicates,
            log.out_of_order,
            log.lost_with_gap,
            live.confirmed,
            live.lost,
            live.lost_with_gap,
        );
        if let Some(detected) = self.detected {
            let _ = write!(line, " | noticed after {:.1} s", detected.as_secs_f64());
        }
        line
    }
}

/// The summary and the tables of docs/reliability.md.
pub fn tables(entries: &[FaultReport]) -> String {
    format!("{}\n{}\n{}", summary(entries), messages(entries), costs(entries))
}

/// The sums over all faults, in one line.
fn summary(entries: &[FaultReport]) -> String {
    let sum = |deployment: usize, of: fn(&DeploymentReport) -> usize| -> usize {
        entries.iter().map(|entry| of(&entry.reports[deployment])).sum()
    };
    format!(
        "{} faults. With `log`, {} messages were confirmed: {} lost, {} duplicates, {} out of order. With \
         `live`, {} were confirmed: {} lost with a gap reported, {} lost silently.\n",
        entries.len(),
        sum(0, |report| report.confirmed),
        sum(0, |report| report.lost),
        sum(0, |report| report.duplicates),
        sum(0, |report| report.out_of_order),
        sum(1, |report| report.confirmed),
        sum(1, |report| report.lost_with_gap),
        sum(1, |report| report.lost),
    )
}

fn messages(entries: &[FaultReport]) -> String {
    let mut table = "\
| fault | `log`: confirmed | lost | duplicates | out of order | gap reported | `live`: confirmed | \
lost, gap reported | lost silently |
| --- | --: | --: | --: | --: | --: | --: | --: | --: |
"
    .to_owned();
    for FaultReport { fault, reports: [log, live], .. } in entries {
        let _ = writeln!(
            table,
            "| {fault} | {} | {} | {} | {} | {} | {} | {} | {} |",
            log.confirmed,
            log.lost,
            log.duplicates,
            log.out_of_order,
            log.lost_with_gap,
            live.confirmed,
            live.lost_with_gap,
            live.lost,
        );
    }
    table
}

fn costs(entries: &[FaultReport]) -> String {
    let mut table = "\
| fault | errors | stall | silence | detected after | unready | recovered after | memory | resumes/s |
| --- | --- | --: | --: | --: | --: | --: | --: | --: |
"
    .to_owned();
    for FaultReport { fault, detected, recovery, reports: [log, live] } in entries {
        let most = |of: fn(&DeploymentReport) -> Duration| seconds(of(log).max(of(live)));
        let _ = writeln!(
            table,
            "| {fault} | {} | {} | {} | {} | {} | {} | {:.0} MB | {} |",
            refusals(log, live),
            most(|report| report.stall),
            most(|report| report.silence),
            detected.map(seconds).unwrap_or_default(),
            most(|report| report.unready),
            seconds(*recovery),
            log.memory.max(live.memory) as f64 / 1e6,
            log.reconnects.max(live.reconnects),
        );
    }
    table
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Reasons of refusals, each with its count.
fn refusals(log: &DeploymentReport, live: &DeploymentReport) -> String {
    let mut all = log.refusals.clone();
    for (with, count) in &live.refusals {
        *all.entry(with.clone()).or_default() += count;
    }
    let abandoned = log.abandoned + live.abandoned;
    if abandoned > 0 {
        all.insert("abandoned".to_owned(), abandoned);
    }
    all.iter().map(|(with, count)| format!("{count} × {with}")).collect::<Vec<_>>().join(", ")
}
