//! Free loopback ports, for servers that cannot be told to take port 0 and say which one they got.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range that Linux gives to outgoing connections (32768 and up): no client socket can
/// take such a port before its server binds it, nor while a server that will come back to it is
/// down.
const LOWEST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A loopback port that is free now and that this process hands out only once.
pub fn free_port() -> u16 {
    // Test runs at the same time begin in different places; a prime stride keeps neighbouring ids
    // apart.
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(std::process::id() % COUNT * 97));
    (0..COUNT)
        .map(|_| (LOWEST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free loopback port between 20000 and 31999")
}
