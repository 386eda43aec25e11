//! The addresses to connect to.

use crate::Failure;
use reqwest::Url;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use warren_client::websocket::{ConnectError, Handshake};

/// Time to look a name up, and to try an address.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The WebSocket address of a deployment, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target(Url);

/// One socket address of a target.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    target: Target,
    address: SocketAddr,
}

impl Target {
    /// Parses a URL. One with a user or a query is refused: they would not be used, or must not be shown.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected ws://, wss://, http:// or https:// with a host, such as \
            wss://chat.example.org/ws, with no user and no parameters";
        let mut url = Url::parse(text).map_err(|_| EXPECTED)?;
        let scheme = match url.scheme() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            _ => return Err(EXPECTED),
        };
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return Err(EXPECTED);
        }
        url.set_scheme(scheme).map_err(|()| EXPECTED)?;
        if url.path() == "/" {
            url.set_path("/ws");
        }
        Ok(Self(url))
    }

    /// The host, with the port unless it is the default.
    fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The addresses of its name. If it has IPv4 and IPv6 addresses, those of one family: IPv4 if one of
    /// them accepts a connection.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let failure = |problem: String| Failure::NoAddress { host: self.host(), problem };
        let host = self.0.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.0.port_or_known_default().unwrap_or_default();
        let found = timeout(TIMEOUT, lookup_host((host, port))).await;
        let found = found.map_err(|_| failure("no answer in time".into()))?;
        let found: Vec<_> = found.map_err(|error| failure(error.to_string()))?.collect();
        let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
        if v4.is_empty() || v6.is_empty() {
            return Ok([v4, v6].concat());
        }
        for address in &v4 {
            if let Ok(Ok(_)) = timeout(TIMEOUT, TcpStream::connect(address)).await {
                return Ok(v4);
            }
        }
        Ok(v6)
    }
}

impl Endpoint {
    /// The handshake of a client of this channel.
    pub(crate) fn handshake(&self, channel: &str) -> Result<Handshake, ConnectError> {
        let mut url = self.target.0.clone();
        url.query_pairs_mut().append_pair("channel", channel);
        Ok(Handshake::new(url.as_str())?.address(self.address))
    }
}

/// All addresses of all targets.
pub(crate) async fn endpoints(targets: &[Target]) -> Result<Vec<Endpoint>, Failure> {
    let mut all = Vec::new();
    for target in targets {
        let addresses = target.addresses().await?;
        all.extend(
            addresses.into_iter().map(|address| Endpoint { target: target.clone(), address }),
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_path_are_completed() {
        for (text, host, url) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080", "ws://127.0.0.1:8080/ws"),
            ("http://burrow", "burrow", "ws://burrow/ws"),
            ("wss://chat.example.org/", "chat.example.org", "wss://chat.example.org/ws"),
            (
                "https://chat.example.org:8443/warren/ws",
                "chat.example.org:8443",
                "wss://chat.example.org:8443/warren/ws",
            ),
            ("ws://[::1]:8080/ws", "[::1]:8080", "ws://[::1]:8080/ws"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.host().as_str(), target.0.as_str()), (host, url));
        }
        for text in ["", "burrow:8080", "ftp://a", "ws://u:p@a", "ws://a/?b", "ws://a/#b", "ws://"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
