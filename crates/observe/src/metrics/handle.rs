//! The handles that count: one type for each type of metric.

use super::declare::{Declaration, Kind, Labels};
use crate::labels::{Label, Worker};
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{HistogramOpts, Opts, Registry};
use std::fmt;

/// Upper bounds of the buckets of every histogram, in seconds.
pub const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

pub(crate) type Counter = prometheus::IntCounter;
pub(crate) type CounterVec<L> = Family<prometheus::IntCounterVec, L>;
/// A counter of seconds.
pub(crate) type TimeCounter = prometheus::Counter;
pub(crate) type TimeCounterVec<L> = Family<prometheus::CounterVec, L>;
pub(crate) type Gauge = prometheus::IntGauge;
pub(crate) type GaugeVec<L> = Family<prometheus::IntGaugeVec, L>;
pub(crate) type Histogram = prometheus::Histogram;
pub(crate) type HistogramVec<L> = Family<prometheus::HistogramVec, L>;

/// A type that a metric can be declared with.
pub(super) trait Handle: Sized {
    const KIND: Kind;
    const LABELS: Labels;

    fn new(declaration: &Declaration) -> prometheus::Result<Self>;

    fn collector(&self) -> Box<dyn Collector>;
}

/// Makes the handle of a declaration and registers it. A wrong declaration is a defect of the program,
/// which every test that builds the metrics finds.
#[expect(clippy::expect_used, reason = "any test that starts finds it")]
pub(super) fn register<H: Handle>(declaration: Option<&Declaration>, registry: &Registry) -> H {
    let declaration = declaration.expect("each metric has its declaration");
    let handle = H::new(declaration).expect("the declaration is valid for Prometheus");
    registry.register(handle.collector()).expect("each name is declared once");
    handle
}

/// The series of one metric, by their labels.
pub(crate) struct Family<V: SeriesVec, L> {
    vec: V,
    /// The declared series, found without a lock.
    declared: Vec<(L, V::Series)>,
}

impl<V: SeriesVec, L> fmt::Debug for Family<V, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").finish_non_exhaustive()
    }
}

/// The types in which the prometheus crate keeps series.
pub(crate) trait SeriesVec {
    type Series;

    /// The series with these values, which is created if it is missing.
    fn series(&self, values: &[&str]) -> Self::Series;

    fn clear(&self);
}

impl<B: MetricVecBuilder> SeriesVec for MetricVec<B> {
    type Series = B::M;

    fn series(&self, values: &[&str]) -> B::M {
        self.with_label_values(values)
    }

    fn clear(&self) {
        self.reset();
    }
}

impl<V: SeriesVec, L: Label> Family<V, L> {
    fn new(vec: V) -> Self {
        let series = L::ALL.iter().map(|label| (*label, vec.series(&label.values())));
        Self { declared: series.collect(), vec }
    }

    /// The series of a label.
    #[expect(clippy::expect_used, reason = "a label declares all of its values")]
    pub(crate) fn at(&self, label: L) -> &V::Series {
        let series = self.declared.iter().find(|(declared, _)| *declared == label);
        series.map(|(_, series)| series).expect("the label declares this value")
    }

    /// Removes all series from the exposition.
    pub(crate) fn clear(&self) {
        self.vec.clear();
    }
}

impl<V: SeriesVec> Family<V, Worker> {
    /// Begins the series of a thread.
    pub(super) fn begin(&self, worker: &str) -> V::Series {
        self.vec.series(&[worker])
    }
}

macro_rules! handles {
    ($($one:ident, $many:ident, $kind:ident, $options:ident;)+) => {$(
        impl Handle for prometheus::$one {
            const KIND: Kind = Kind::$kind;
            const LABELS: Labels = Labels::NONE;

            fn new(declaration: &Declaration) -> prometheus::Result<Self> {
                Self::with_opts($options(declaration))
            }

            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.clone())
            }
        }

        impl<L: Label> Handle for Family<prometheus::$many, L> {
            const KIND: Kind = Kind::$kind;
            const LABELS: Labels = Labels::of::<L>();

            fn new(declaration: &Declaration) -> prometheus::Result<Self> {
                Ok(Self::new(prometheus::$many::new($options(declaration), L::NAMES)?))
            }

            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.vec.clone())
            }
        }
    )+};
}

handles! {
    IntCounter, IntCounterVec, Counter, options;
    Counter, CounterVec, Counter, options;
    IntGauge, IntGaugeVec, Gauge, options;
    Histogram, HistogramVec, Histogram, buckets;
}

fn options(declaration: &Declaration) -> Opts {
    Opts::new(declaration.name, declaration.help)
}

fn buckets(declaration: &Declaration) -> HistogramOpts {
    HistogramOpts::new(declaration.name, declaration.help).buckets(BUCKETS.to_vec())
}
