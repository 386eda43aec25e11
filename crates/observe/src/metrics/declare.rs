//! What a declaration says, and the macro that makes of a list of them what is counted with.

/// One metric, as it is declared.
#[derive(Debug)]
pub struct Declaration {
    /// What it is called where it is counted.
    pub field: &'static str,
    pub name: &'static str,
    /// What it is, and what a rise means.
    pub help: &'static str,
    pub kind: Kind,
    /// `seconds` and `bytes` are in the name; all else is what is counted.
    pub unit: &'static str,
    pub labels: Labels,
    /// The alerts that read it.
    pub alerts: &'static [&'static str],
}

/// Declarations that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub metrics: &'static [Declaration],
}

/// The types that Prometheus knows, without summaries.
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

/// The labels of a metric and all the values that they can have. None comes from outside the program.
#[derive(Clone, Copy, Debug)]
pub enum Labels {
    None,
    One(&'static str, &'static [&'static str]),
    /// Two, and the values that occur together. The second alone says which.
    Two([&'static str; 2], &'static [(&'static str, &'static str)]),
    /// [`WORKER`]: [`MAIN`], then a number for each of `WARREN_WORKERS`.
    Worker,
}

/// The label of what each thread has of its own.
pub const WORKER: &str = "worker";
/// The thread that speaks to RabbitMQ and hands messages to the workers.
pub const MAIN: &str = "main";

impl Labels {
    /// Their names, in order.
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::None => Vec::new(),
            Self::One(name, _) => vec![name],
            Self::Two(names, _) => names.to_vec(),
            Self::Worker => vec![WORKER],
        }
    }

    /// Their values, as far as they are known beforehand.
    pub fn values(&self) -> Vec<Vec<&'static str>> {
        match self {
            Self::None | Self::Worker => Vec::new(),
            Self::One(_, values) => values.iter().map(|value| vec![*value]).collect(),
            Self::Two(_, pairs) => pairs.iter().map(|(one, two)| vec![*one, *two]).collect(),
        }
    }
}

/// From each row: its [`Declaration`], and a field of the struct that is counted with. The type of the
/// field is the type of the metric.
macro_rules! metrics {
    ($($title:literal {
        $($(#[doc = $help:literal])+ $field:ident: $handle:ident =
            $name:literal, $unit:literal, $labels:expr, [$($alert:ident),*];)+
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
                labels: $labels,
                alerts: &[$(stringify!($alert)),*],
            }),+],
        }),+];

        /// What is counted with. [`Metrics`](super::Metrics) has it for itself, and lends it to an event.
        #[derive(Debug)]
        pub(crate) struct Table {
            $($(pub(crate) $field: $handle,)+)+
        }

        impl Table {
            /// Registers all of it, with the series that are known beforehand at zero.
            pub(crate) fn new(registry: &Registry) -> Self {
                let mut declarations = SECTIONS.iter().flat_map(|section| section.metrics);
                // In the order in which they are declared, as in the list.
                Self { $($($field: declare(declarations.next(), registry),)+)+ }
            }
        }
    };
}
pub(super) use metrics;
