//! The modules under test, from their sources. They are plain data and need little else, so they are
//! built with instrumentation in seconds, where all of Warren would take minutes.

#![allow(dead_code)]

#[path = "../../src/broker/body.rs"]
pub mod body;
pub mod memory;
#[path = "../../src/message.rs"]
pub mod message;
#[path = "../../src/wire/mod.rs"]
pub mod wire;
