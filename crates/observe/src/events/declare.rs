//! The form of a declaration, and the macro that turns the table into the type [`Event`](super::Event)
//! and its lines.

use std::time::Duration;
use tracing::Level;

/// One event, as it is declared.
#[derive(Debug)]
pub struct Declaration {
    /// Value of the field `event` of its lines. It stays the same when the message changes.
    pub name: &'static str,
    pub level: Level,
    /// The shortest time between two lines; the events in between are summed. `None`: one line for each.
    pub quiet: Option<Duration>,
    pub message: &'static str,
    pub fields: &'static [&'static str],
    /// The metric that counts it, by its field in the table of metrics. `None`: `warren_events_total`.
    pub counter: Option<&'static str>,
    /// The series of that metric.
    pub series: Option<Series>,
    /// Meaning for operators, and what to do.
    pub meaning: &'static str,
}

/// The series that counts an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// The series with the value of this field.
    Field(&'static str),
    /// The series with this value.
    Value(&'static str),
}

/// Declarations that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub events: &'static [Declaration],
}

/// One line for each event.
pub(super) const EACH: Option<Duration> = None;
/// One line in ten seconds at most.
pub(super) const SUMMED: Option<Duration> = Some(Duration::from_secs(10));
/// One line in a minute at most.
pub(super) const SELDOM: Option<Duration> = Some(Duration::from_secs(60));

/// Makes [`Event`](super::Event), [`EventName`](super::EventName) and the declarations from the table.
macro_rules! declare_events {
    ($($title:literal {
        $($(#[doc = $meaning:literal])+ $event:ident = $name:literal, $level:ident, $quiet:expr,
            $message:literal, $({$($field:ident: $kind:ty),*},)?
            $counter:ident $([$($series:tt)+])?;)+
    })+) => {
        /// Every event, in the order of the documentation.
        pub const SECTIONS: &[Section] = &[$(Section {
            title: $title,
            events: &[$(Declaration {
                name: $name,
                level: Level::$level,
                quiet: $quiet,
                message: $message,
                fields: &[$($(stringify!($field)),*)?],
                counter: counter!($counter),
                series: series!($([$($series)+])?),
                meaning: concat!($($meaning),+).trim_ascii(),
            }),+],
        }),+];

        /// Something that operators are informed of, by a line of the log output and a counter.
        #[derive(Debug)]
        pub enum Event {
            $($($(#[doc = $meaning])+ $event $({ $($field: $kind),* })?,)+)+
        }

        /// The name of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventName {
            $($($event,)+)+
        }

        impl EventName {
            /// Every event, and whether `warren_events_total` counts it because no other metric does.
            const COUNTED: &[(Self, bool)] =
                &[$($((Self::$event, counter!($counter).is_none()),)+)+];

            pub const fn value(self) -> &'static str {
                match self {
                    $($(Self::$event => $name,)+)+
                }
            }
        }

        impl Event {
            /// The key of its sum and the shortest time between two lines; `None`: one line for each.
            #[allow(unused_variables)]
            pub(super) fn rate(&self) -> Option<(RateKey, Duration)> {
                match self {
                    $($(Self::$event $({ $($field),* })? => {
                        let key = (EventName::$event, label!($([$($series)+])?));
                        $quiet.map(|quiet| (key, quiet))
                    })+)+
                }
            }

            /// Writes a line. `count`: the events that it stands for, if they are summed.
            pub(super) fn write(&self, count: Option<u64>) {
                match self {
                    $($(Self::$event $({ $($field),* })? => tracing::event!(
                        target: concat!("warren::", $name),
                        Level::$level,
                        event = $name,
                        count,
                        $($($field = $field.value(),)*)?
                        $message
                    ),)+)+
                }
            }

            /// Each event, once for every value of its label.
            #[cfg(test)]
            #[allow(unused_variables)]
            pub(crate) fn samples() -> Vec<(&'static Declaration, Self)> {
                let mut events = Vec::new();
                let mut declarations = SECTIONS.iter().flat_map(|section| section.events);
                $($(
                    let declaration = declarations.next().unwrap();
                    let samples: usize = [1, $($(<$kind>::samples().len()),*)?].into_iter().max().unwrap();
                    for index in 0..samples {
                        let event = Self::$event $({ $($field: sample::<$kind>(index)),* })?;
                        events.push((declaration, event));
                    }
                )+)+
                events
            }
        }
    };
}

/// The metric that counts an event, in the form of [`Declaration::counter`].
macro_rules! counter {
    (own) => {
        None::<&'static str>
    };
    ($counter:ident) => {
        Some(stringify!($counter))
    };
}

/// The series that counts an event: by the value of a field, or a fixed one.
macro_rules! series {
    () => {
        None::<Series>
    };
    ([$field:ident]) => {
        Some(Series::Field(stringify!($field)))
    };
    ([$value:expr]) => {
        Some(Series::Value($value.value()))
    };
}

/// The label of the series that counts an event.
macro_rules! label {
    () => {
        ""
    };
    ([$field:ident]) => {
        Label::value(*$field)
    };
    ([$value:expr]) => {
        $value.value()
    };
}
pub(super) use {counter, declare_events, label, series};
