//! What a declaration says, and the macro that makes of a list of them the events that can be told.

use std::time::Duration;
use tracing::Level;

/// One event, as it is declared.
#[derive(Debug)]
pub struct Declaration {
    /// The field `event` of its lines. It stays when the message is worded anew.
    pub name: &'static str,
    pub level: Level,
    /// The shortest time between two lines; what happens meanwhile is summed. `None`: each has a line.
    pub quiet: Option<Duration>,
    pub message: &'static str,
    pub fields: &'static [&'static str],
    /// What counts it: a field of the metrics' table, or `None` for the counter of those that no other
    /// metric counts.
    pub counter: Option<&'static str>,
    /// Which series of it: a field of the event, or a value in quotes.
    pub series: Option<&'static str>,
    /// What it is, and what to make of it.
    pub meaning: &'static str,
}

/// Declarations that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub events: &'static [Declaration],
}

/// How often there is a line.
pub(super) const EACH: Option<Duration> = None;
pub(super) const SUMMED: Option<Duration> = Some(Duration::from_secs(10));
pub(super) const SELDOM: Option<Duration> = Some(Duration::from_secs(60));

/// More names than there are events.
pub(super) const MANY: usize = 64;

/// The names of the events that no other metric counts, and how many there are.
pub(super) const fn own(sections: &[Section]) -> ([&'static str; MANY], usize) {
    let (mut names, mut count, mut section) = ([""; MANY], 0, 0);
    while section < sections.len() {
        let (events, mut place) = (sections[section].events, 0);
        while place < events.len() {
            if events[place].counter.is_none() {
                names[count] = events[place].name;
                count += 1;
            }
            place += 1;
        }
        section += 1;
    }
    (names, count)
}

/// From each row: its [`Declaration`], and a variant of [`Event`](super::Event). What the variant is
/// made of has the row's fields; what becomes of it, the row's line and counter.
macro_rules! events {
    ($($title:literal {
        $($(#[doc = $meaning:literal])+ $event:ident = $name:literal, $level:ident, $quiet:expr,
            $message:literal, $({$($field:ident: $kind:ty),*},)? $counter:ident $([$series:expr])?;)+
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
                counter: counter!(name $counter),
                series: counter!(label $([$series])?),
                meaning: concat!($($meaning),+).trim_ascii(),
            }),+],
        }),+];

        /// What an operator is told, by `Reporter::tell`.
        #[derive(Debug)]
        pub enum Event {
            $($($(#[doc = $meaning])+ $event $({ $($field: $kind),* })?,)+)+
        }

        impl Event {
            /// Counts so many of it.
            #[allow(unused_variables)]
            pub(crate) fn count(&self, table: &Table, times: u64) {
                match self {
                    $($(Self::$event $({ $($field),* })? => {
                        counter!(count table, times, $name, $counter $([$series])?);
                    })+)+
                }
            }

            /// With which others it is summed, and for how long; `None` if it has a line of its own.
            #[allow(unused_variables)]
            pub(super) fn pace(&self) -> Option<(Kind, Duration)> {
                match self {
                    $($(Self::$event $({ $($field),* })? => {
                        $quiet.map(|quiet: Duration| (($name, counter!(value $([$series])?)), quiet))
                    })+)+
                }
            }

            /// Writes a line, of so many if they are summed.
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

            /// Each event, with every value of the label that it is counted by.
            #[cfg(test)]
            #[allow(unused_variables)]
            pub(super) fn samples() -> Vec<(&'static Declaration, Self)> {
                let mut events = Vec::new();
                let mut declarations = SECTIONS.iter().flat_map(|section| section.events);
                $($(
                    let declaration = declarations.next().unwrap();
                    for label in declaration.labels() {
                        let event = Self::$event $({ $($field: <$kind>::sample(label)),* })?;
                        events.push((declaration, event));
                    }
                )+)+
                events
            }
        }
    };
}

/// What a row says of its counter: `own`, the field of a metric, or that with a series of it.
macro_rules! counter {
    (name own) => {
        None
    };
    (name $counter:ident) => {
        Some(stringify!($counter))
    };
    (label) => {
        None
    };
    (label [$series:expr]) => {
        Some(stringify!($series))
    };
    (value) => {
        ""
    };
    (value [$series:expr]) => {
        $series.label()
    };
    (count $table:ident, $times:ident, $name:literal, own) => {
        $table.events.at($name, |count| count.inc_by($times));
    };
    (count $table:ident, $times:ident, $name:literal, $counter:ident) => {
        $table.$counter.inc_by($times);
    };
    (count $table:ident, $times:ident, $name:literal, $counter:ident[$series:expr]) => {
        $table.$counter.at($series, |count| count.inc_by($times));
    };
}
pub(super) use {counter, events};
