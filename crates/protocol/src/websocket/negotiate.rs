//! Negotiation of permessage-deflate in the handshake (RFC 7692, 5 and 7.1).

use std::borrow::Cow;

/// Name of the extension.
const NAME: &str = "permessage-deflate";
/// Largest window in bits, and the window of a client that does not ask for another.
const MAX_BITS: u8 = 15;

/// LZ77 window that a client inflates with, in bits. Zero if the client does not inflate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window(u8);

impl Window {
    /// No compression.
    pub const NONE: Self = Self(0);
    /// The largest window.
    pub const FULL: Self = Self(MAX_BITS);

    /// True if a frame of `length` bytes, compressed on its own, can be inflated with this window: its
    /// back references may span the whole frame.
    pub fn holds(self, length: usize) -> bool {
        self.0 == MAX_BITS || length >> self.0 == 0
    }
}

/// An accepted offer.
#[derive(Debug, PartialEq, Eq)]
pub struct NegotiatedDeflate {
    pub window: Window,
    /// Value of `Sec-WebSocket-Extensions` in the response.
    pub answer: String,
}

/// Accepts the first acceptable offer in the values of `Sec-WebSocket-Extensions`. Malformed offers and
/// unknown parameters are declined. `None` if no offer is acceptable.
///
/// Neither side keeps context between messages. A message is therefore compressed once for all
/// clients, and a connection needs no memory for compression.
pub fn negotiate<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<NegotiatedDeflate> {
    values.into_iter().flat_map(|value| split(value, ',')).find_map(accept)
}

fn accept(offer: &str) -> Option<NegotiatedDeflate> {
    let mut parts = split(offer, ';');
    if parts.next()? != NAME {
        return None;
    }
    let (mut seen, mut asked) = (Vec::new(), None);
    for part in parts {
        let (name, value) = parameter(part)?;
        match (name, value.as_deref()) {
            _ if seen.contains(&name) => return None,
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("server_max_window_bits", Some(bits)) => asked = Some(window_bits(bits)?),
            // The client may use any window: Warren inflates with the largest.
            ("client_max_window_bits", bits) => {
                bits.map_or(Some(MAX_BITS), window_bits)?;
            }
            _ => return None,
        }
        seen.push(name);
    }
    let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
    if let Some(bits) = asked {
        answer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    Some(NegotiatedDeflate { window: asked.map_or(Window::FULL, Window), answer })
}

/// Splits at separators outside quotes, and trims the parts.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c| {
        let literal = std::mem::take(&mut escaped);
        match c {
            '"' if !literal => quoted = !quoted,
            '\\' if quoted && !literal => escaped = true,
            _ => return c == separator && !quoted,
        }
        false
    });
    parts.map(trim)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Parses `name`, `name=value` or `name="value"`.
fn parameter(text: &str) -> Option<(&str, Option<Cow<'_, str>>)> {
    let Some((name, value)) = text.split_once('=') else { return Some((text, None)) };
    let value = trim(value);
    let value = match value.strip_prefix('"') {
        Some(quoted) => unquote(quoted.strip_suffix('"')?)?.into(),
        None => value.into(),
    };
    Some((trim(name), Some(value)))
}

fn unquote(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.push(match c {
            '\\' => characters.next()?,
            '"' => return None,
            c => c,
        });
    }
    Some(plain)
}

/// Parses 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let valid = matches!(value.as_bytes(), [b'8' | b'9'] | [b'1', b'0'..=b'5']);
    value.parse().ok().filter(|_| valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn window(values: &[&str]) -> Option<(u8, String)> {
        let agreed = negotiate(values.iter().copied())?;
        let rest = agreed.answer.strip_prefix(ANSWER).unwrap();
        Some((agreed.window.0, rest.to_owned()))
    }

    #[test]
    fn first_acceptable_offer_is_accepted() {
        let asked = |bits: u8| Some((bits, format!("; server_max_window_bits={bits}")));
        let plain = Some((15, String::new()));
        for (values, taken) in [
            // As browsers offer.
            (&["permessage-deflate; client_max_window_bits"][..], plain.clone()),
            (&["permessage-deflate"], plain.clone()),
            (
                &[
                    " \tpermessage-deflate\t;client_no_context_takeover ; server_no_context_takeover",
                ],
                plain.clone(),
            ),
            (&["permessage-deflate; client_max_window_bits=8"], plain.clone()),
            (&["permessage-deflate; server_max_window_bits=15"], asked(15)),
            (&["permessage-deflate; server_max_window_bits = \"10\""], asked(10)),
            (&["permessage-deflate; server_max_window_bits=\"\\9\""], asked(9)),
            (&["permessage-deflate; server_max_window_bits=8"], asked(8)),
            // The first acceptable one, wherever it stands.
            (
                &[
                    "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=9, permessage-deflate",
                ],
                asked(9),
            ),
            (&["permessage-deflate; server_max_window_bits=16, permessage-deflate"], plain.clone()),
            (
                &["permessage-deflate; mystery", "permessage-deflate; server_max_window_bits=12"],
                asked(12),
            ),
            (&["mux; a=\"permessage-deflate, ;\\\"\", ,permessage-deflate"], plain.clone()),
        ] {
            assert_eq!(window(values), taken, "{values:?}");
        }
    }

    #[test]
    fn malformed_or_unknown_offer_is_declined() {
        assert_eq!(window(&[]), None);
        for offer in [
            "",
            "permessage-deflate2",
            "deflate-frame",
            "permessage-deflate; ",
            "permessage-deflate; mystery",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=9.0",
            "permessage-deflate; server_max_window_bits=9 9",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits=9\"",
            "permessage-deflate; server_max_window_bits=\"9\\\"",
            "permessage-deflate; server_max_window_bits=\"1\"5\"",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate server_no_context_takeover",
            "\"permessage-deflate\"",
            "\"mux, permessage-deflate",
        ] {
            assert_eq!(window(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn window_holds_only_shorter_frames() {
        assert!((0..1 << 20).step_by(333).all(|length| Window(15).holds(length)));
        assert!(Window(8).holds(255) && !Window(8).holds(256 + 1));
        assert!(!Window::NONE.holds(1));
    }
}
