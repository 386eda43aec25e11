//! Free loopback ports, for servers that cannot bind port 0 and report the port that they got.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

/// Below the range that Linux gives to outgoing connections (32768 and up): no client socket can take such a
/// port before its server binds it, nor while a server that will come back to it is down.
const LOWEST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A free loopback port, which stays this process's own until the process ends.
///
/// A UDP socket on the same port keeps other test processes away from it. No server of the tests uses UDP.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    // Processes begin in different places; a prime stride separates neighbouring ids.
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(std::process::id() % COUNT * 97));
    for _ in 0..COUNT {
        let port = (LOWEST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
        let Ok(reserved) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            RESERVED.lock().unwrap().push(reserved);
            return port;
        }
    }
    panic!("no free loopback port between 20000 and 31999");
}

#[test]
fn ports_are_reserved_from_other_processes() {
    let ports = [free_port(), free_port()];
    assert_ne!(ports[0], ports[1]);
    for port in ports {
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err());
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}
