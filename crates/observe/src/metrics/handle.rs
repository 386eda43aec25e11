//! What is counted with: for each type of metric one, made from its declaration.

use super::declare::{Declaration, Kind, Labels};
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Counter as FloatCounter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::fmt;

/// Upper bounds of the buckets of every histogram, in seconds.
pub const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

pub(crate) type Count = IntCounter;
pub(crate) type Counts = Family<IntCounterVec>;
pub(crate) type Seconds = FloatCounter;
pub(crate) type SecondsEach = Family<CounterVec>;
pub(crate) type Level = IntGauge;
pub(crate) type Levels = Family<IntGaugeVec>;
pub(crate) type Latency = Histogram;
pub(crate) type Latencies = Family<HistogramVec>;

/// A type that a metric can be declared with.
pub(super) trait Handle: Sized {
    const KIND: Kind;

    fn make(declaration: &Declaration) -> prometheus::Result<Self>;

    fn collector(&self) -> Box<dyn Collector>;
}

/// Makes what is declared and registers it. A mistake in a declaration is one of the program, found by
/// the first test that builds the metrics.
#[expect(clippy::expect_used, reason = "any test that starts finds it")]
pub(super) fn declare<H: Handle>(declaration: Option<&Declaration>, registry: &Registry) -> H {
    let declaration = declaration.expect("each metric has its declaration");
    let handle = H::make(declaration).expect("a metric is declared as Prometheus wants it");
    registry.register(handle.collector()).expect("a metric is declared once");
    handle
}

/// The series of one metric, told apart by labels.
pub(crate) struct Family<V: Vector> {
    all: V,
    /// By the value of the last label: those that are declared, found without a lock.
    known: Vec<(&'static str, V::One)>,
}

impl<V: Vector> fmt::Debug for Family<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").finish_non_exhaustive()
    }
}

/// What the crate keeps series in.
pub(crate) trait Vector {
    type One;

    /// The series with these values, which begins now if there is none.
    fn series(&self, values: &[&str]) -> Self::One;

    fn clear(&self);
}

impl<B: MetricVecBuilder> Vector for MetricVec<B> {
    type One = B::M;

    fn series(&self, values: &[&str]) -> B::M {
        self.with_label_values(values)
    }

    fn clear(&self) {
        self.reset();
    }
}

impl<V: Vector> Family<V> {
    fn new(all: V, labels: &Labels) -> Self {
        let values = labels.values().into_iter();
        let known = values.filter_map(|values| Some((*values.last()?, all.series(&values))));
        Self { known: known.collect(), all }
    }

    /// Calls `act` with the series of a declared value. There are no others: one that was forgotten in
    /// the declaration fails the tests, and never becomes a label.
    pub(crate) fn at(&self, value: &str, act: impl FnOnce(&V::One)) {
        let series = self.known.iter().find(|(known, _)| *known == value);
        debug_assert!(series.is_some(), "the value {value:?} is not declared");
        if let Some((_, series)) = series {
            act(series);
        }
    }

    /// The series of a thread.
    pub(crate) fn begin(&self, worker: &str) -> V::One {
        self.all.series(&[worker])
    }

    /// Shows none of the series any more.
    pub(crate) fn forget(&self) {
        self.all.clear();
    }
}

macro_rules! handles {
    ($($one:ident, $many:ident, $kind:ident, $options:ident;)+) => {$(
        impl Handle for $one {
            const KIND: Kind = Kind::$kind;

            fn make(declaration: &Declaration) -> prometheus::Result<Self> {
                Self::with_opts($options(declaration))
            }

            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.clone())
            }
        }

        impl Handle for Family<$many> {
            const KIND: Kind = Kind::$kind;

            fn make(declaration: &Declaration) -> prometheus::Result<Self> {
                let labels = &declaration.labels;
                let all = $many::new($options(declaration), &labels.names())?;
                Ok(Self::new(all, labels))
            }

            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.all.clone())
            }
        }
    )+};
}

handles! {
    IntCounter, IntCounterVec, Counter, options;
    FloatCounter, CounterVec, Counter, options;
    IntGauge, IntGaugeVec, Gauge, options;
    Histogram, HistogramVec, Histogram, buckets;
}

fn options(declaration: &Declaration) -> Opts {
    Opts::new(declaration.name, declaration.help)
}

fn buckets(declaration: &Declaration) -> HistogramOpts {
    HistogramOpts::new(declaration.name, declaration.help).buckets(BUCKETS.to_vec())
}
