//! The form of a declaration, and the macro that turns the list of them into handles that count.

use crate::labels::{Label, Worker};

/// One metric, as it is declared.
#[derive(Debug)]
pub struct Declaration {
    /// Name of the handle in the table.
    pub field: &'static str,
    pub name: &'static str,
    /// Description, and the meaning of an increase.
    pub help: &'static str,
    pub kind: Kind,
    /// `seconds` or `bytes`, which are in the name, or the things that are counted.
    pub unit: &'static str,
    pub labels: Labels,
    /// The alerts that use it.
    pub alerts: &'static [&'static str],
}

/// Declarations that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub metrics: &'static [Declaration],
}

/// The types of Prometheus, without summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The labels of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Their names, in their order.
    pub names: &'static [&'static str],
    pub(super) values: fn() -> Vec<Vec<&'static str>>,
}

/// The label of the metrics that each thread has.
pub const WORKER: &str = Worker::NAMES[0];
/// Value of [`WORKER`] for the thread that serves no clients: it communicates with RabbitMQ and hands
/// messages to the workers.
pub const MAIN: &str = "main";

impl Labels {
    pub(super) const NONE: Self = Self { names: &[], values: Vec::new };

    pub(super) const fn of<L: Label>() -> Self {
        Self { names: L::NAMES, values: || L::ALL.iter().map(|label| label.values()).collect() }
    }

    /// Values that occur together, in the order of the names. Empty without labels, and for [`WORKER`],
    /// whose values are [`MAIN`] and a number for each worker.
    pub fn values(&self) -> Vec<Vec<&'static str>> {
        (self.values)()
    }
}

/// Makes of each row its [`Declaration`] and a field of `Table`. The type of the field determines the
/// type and the labels of the metric.
macro_rules! metrics {
    ($($title:literal {
        $($(#[doc = $help:literal])+ $field:ident: $handle:ty =
            $name:literal, $unit:literal, [$($alert:ident),*];)+
    })+) => {
        /// Every metric, in the order of the documentation.
        pub const SECTIONS: &[Section] = &[$(Section {
            title: $title,
            metrics: &[$(Declaration {
                field: stringify!($field),
                name: $name,
                help: concat!($($help),+).trim_ascii(),
                kind: <$handle as Handle>::KIND,
                unit: $unit,
                labels: <$handle as Handle>::LABELS,
                alerts: &[$(stringify!($alert)),*],
            }),+],
        }),+];

        /// The handles of all declared metrics.
        #[derive(Debug)]
        pub(crate) struct Table {
            $($(pub(crate) $field: $handle,)+)+
        }

        impl Table {
            /// Registers all metrics, with a series at zero for each declared value of a label.
            pub(crate) fn new(registry: &Registry) -> Self {
                let mut declarations = SECTIONS.iter().flat_map(|section| section.metrics);
                // The fields are in the order of the declarations.
                Self { $($($field: register(declarations.next(), registry),)+)+ }
            }
        }
    };
}
pub(super) use metrics;
