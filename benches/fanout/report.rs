//! Tables of results, and verdicts on targets.

use crate::server::Sample;

/// One subject, measured in several rounds.
pub struct Series {
    pub name: String,
    rounds: Vec<Sample>,
}

impl Series {
    /// Builds the series of named subjects; each round has one sample of each.
    pub fn of(names: Vec<String>, rounds: Vec<Vec<Sample>>) -> Vec<Self> {
        let mut series: Vec<_> =
            names.into_iter().map(|name| Self { name, rounds: Vec::new() }).collect();
        for round in rounds {
            for (series, sample) in series.iter_mut().zip(round) {
                series.rounds.push(sample);
            }
        }
        series
    }

    /// Median CPU time of a delivery.
    pub fn cost(&self) -> f64 {
        spread(self.rounds.iter().map(Sample::cost))[1]
    }

    /// Median ratio to `reference` in the same round.
    pub fn ratio(&self, reference: &Self) -> f64 {
        spread(self.ratios(reference))[1]
    }

    /// Ratios to `reference` in the same round.
    pub fn ratios(&self, reference: &Self) -> impl Iterator<Item = f64> {
        let rounds = self.rounds.iter().zip(&reference.rounds);
        rounds.map(|(round, unit)| round.cost() / unit.cost())
    }

    pub fn rounds(&self) -> impl Iterator<Item = &Sample> {
        self.rounds.iter()
    }
}

/// Prints the cost of each subject, its ratio to the first, and the conditions.
pub fn table(title: &str, series: &[Series]) {
    println!("\n{title}");
    println!("  {:<40}{:>10}{:>10}{:>10}{:>10}", "", "min µs", "median µs", "max µs", "ratio");
    for row in series {
        let [least, median, most] = spread(row.rounds.iter().map(Sample::cost));
        let ratio = row.ratio(&series[0]);
        println!("  {:<40}{least:>10.2}{median:>10.2}{most:>10.2}{ratio:>10.2}", row.name);
    }
    footnote(series);
}

/// Prints the conditions: waiting times and the cost of the load.
pub fn footnote(series: &[Series]) {
    let mut all = Sample::default();
    series.iter().flat_map(|row| &row.rounds).for_each(|round| all.add(round));
    println!(
        "  load: {:.1} µs a delivery, its core busy {:.0} %; servers waited for their core {:.0} % of the time",
        all.load / all.deliveries,
        100.0 * all.load / all.wall,
        100.0 * all.waited / all.wall
    );
}

/// Formats a median with minimum and maximum.
pub fn cell(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let [least, median, most] = spread(values);
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

/// Prints deliveries per second.
pub fn rates(series: &[Series]) {
    println!("  {:<40}{:>10}{:>10}{:>10}", "deliveries a second", "min", "median", "max");
    for row in series {
        let [least, median, most] = spread(row.rounds.iter().map(Sample::rate));
        println!("  {:<40}{least:>10.0}{median:>10.0}{most:>10.0}", row.name);
    }
}

/// Prints which targets, upper bounds, a value meets.
pub fn verdict(name: &str, value: f64, unit: &str, targets: &[f64]) {
    let digits = if value < 100.0 { 2 } else { 0 };
    let answers: Vec<_> = targets
        .iter()
        .map(|target| {
            format!("within {target}{unit}: {}", if value <= *target { "yes" } else { "no" })
        })
        .collect();
    println!("  {name:<44}{value:>9.digits$}{unit}, {}", answers.join(", "));
}

/// Minimum, median and maximum.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    [0, sorted.len() / 2, sorted.len() - 1].map(|place| sorted[place])
}
