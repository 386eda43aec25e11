//! The counter of each event, from the table of events.

use crate::events::{Event, EventName, event_table};
use crate::labels::{ConnectionRole, ResumeOutcome, SpanDropCause};
use crate::metrics::Table;

macro_rules! count_events {
    ($($title:literal {
        $($(#[doc = $meaning:literal])+ $event:ident = $name:literal, $level:ident, $quiet:expr,
            $message:literal, $({$($field:ident: $kind:ty),*},)?
            $counter:ident $([$($series:tt)+])?;)+
    })+) => {
        /// Counts an event that happened a number of times.
        #[allow(unused_variables)]
        pub(super) fn count(event: &Event, table: &Table, times: u64) {
            match event {
                $($(Event::$event $({ $($field),* })? => {
                    count!(table, times, EventName::$event, $counter $([$($series)+])?);
                })+)+
            }
        }
    };
}

/// The increment, by the counter and the series of a row.
macro_rules! count {
    ($table:ident, $times:ident, $name:expr, own) => {
        $table.events.at($name).inc_by($times)
    };
    ($table:ident, $times:ident, $name:expr, $counter:ident) => {
        $table.$counter.inc_by($times)
    };
    ($table:ident, $times:ident, $name:expr, $counter:ident[$field:ident]) => {
        $table.$counter.at(*$field).inc_by($times)
    };
    ($table:ident, $times:ident, $name:expr, $counter:ident[$label:expr]) => {
        $table.$counter.at($label).inc_by($times)
    };
}

event_table!(count_events);
