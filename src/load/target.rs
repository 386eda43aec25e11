//! Where to connect to.

use super::Failure;
use reqwest::Url;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long a name may be looked up, and an address tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// A WebSocket of Warren, as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) tls: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// `/ws` where none is given.
    pub(super) path: String,
}

/// One of the addresses of a target.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) target: Target,
    pub(super) address: SocketAddr,
}

impl Target {
    /// None if it is no address, or has what would not be used, or what is not to be shown.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let tls = match url.scheme() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return None,
        };
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return None;
        }
        let path = if url.path() == "/" { "/ws" } else { url.path() };
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default()?;
        Some(Self { tls, host: host.to_owned(), port, path: path.to_owned() })
    }

    /// As in the header of that name.
    pub(super) fn host(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// All addresses of its name. Of one with addresses of both families, those of one family: IPv4, if
    /// any of them answers.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let unknown = |problem: String| Failure::Unknown { host: self.host(), problem };
        let found = timeout(PATIENCE, lookup_host((self.host.as_str(), self.port))).await;
        let found = found.map_err(|_| unknown("no answer in time".into()))?;
        let found: Vec<_> = found.map_err(|error| unknown(error.to_string()))?.collect();
        let (four, six): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
        if four.is_empty() || six.is_empty() {
            return Ok([four, six].concat());
        }
        for address in &four {
            if let Ok(Ok(_)) = timeout(PATIENCE, TcpStream::connect(address)).await {
                return Ok(four);
            }
        }
        Ok(six)
    }
}

/// All addresses of all targets.
pub(super) async fn addresses(targets: &[Target]) -> Result<Vec<Address>, Failure> {
    let mut all = Vec::new();
    for target in targets {
        let addresses = target.addresses().await?;
        all.extend(
            addresses.into_iter().map(|address| Address { target: target.clone(), address }),
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named() {
        for (text, tls, host, path) in [
            ("ws://127.0.0.1:8080", false, "127.0.0.1:8080", "/ws"),
            ("http://burrow", false, "burrow", "/ws"),
            ("wss://chat.example.org/", true, "chat.example.org", "/ws"),
            (
                "https://chat.example.org:8443/warren/ws",
                true,
                "chat.example.org:8443",
                "/warren/ws",
            ),
            ("ws://[::1]:8080/ws", false, "[::1]:8080", "/ws"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.tls, target.host(), &*target.path), (tls, host.into(), path));
        }
        for text in ["", "burrow:8080", "ftp://a", "ws://u:p@a", "ws://a/?b", "ws://a/#b", "ws://"]
        {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }
}
