//! The frames of subprotocol `warren.v1`: commands of a client, and their answers.

use crate::http::error::told;
use crate::session::subscriptions::SubscribeResult;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use warren_protocol::websocket::text_frame;

/// Name of the subprotocol.
pub const V1: &str = "warren.v1";
/// Longest reference in bytes, as JSON.
const MAX_REFERENCE: usize = 64;

/// A client's name for a command: a JSON string or number, which comes back in the answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Box<RawValue>")]
pub struct Reference(Box<RawValue>);

impl TryFrom<Box<RawValue>> for Reference {
    type Error = String;

    fn try_from(json: Box<RawValue>) -> Result<Self, String> {
        let text = json.get();
        if text.len() > MAX_REFERENCE
            || !text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
        {
            return Err(format!("ref: a string or number of at most {MAX_REFERENCE} bytes"));
        }
        Ok(Self(json))
    }
}

/// What a client wants done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    Publish(Publish),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
}

impl Command {
    pub fn reference(&self) -> &Reference {
        match self {
            Self::Publish(publish) => &publish.r#ref,
            Self::Subscribe(subscribe) => &subscribe.r#ref,
            Self::Unsubscribe(unsubscribe) => &unsubscribe.r#ref,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    pub r#ref: Reference,
    pub channel: Option<String>,
    pub text: Box<RawValue>,
    pub key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    pub r#ref: Reference,
    pub channel: String,
    pub after: Option<String>,
    #[serde(default)]
    pub history: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    pub r#ref: Reference,
    pub channel: String,
}

/// Reads a command.
///
/// # Errors
/// What is wrong with it, and its reference if that can be told.
pub fn parse(text: &str) -> Result<Command, (Option<Reference>, String)> {
    serde_json::from_str(text).map_err(|error| {
        #[derive(Deserialize)]
        struct Any {
            r#ref: Option<Reference>,
        }
        let any = serde_json::from_str::<BTreeMap<String, Any>>(text).ok();
        let one = any.filter(|any| any.len() == 1);
        let reference = one.and_then(|any| any.into_values().next()?.r#ref);
        (reference, error.to_string())
    })
}

/// What a client is answered: one object under one name.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer<'a> {
    Published {
        r#ref: &'a RawValue,
        id: Option<&'a str>,
    },
    Subscribed {
        r#ref: &'a RawValue,
        channel: &'a str,
        recovered: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    },
    Unsubscribed {
        r#ref: &'a RawValue,
        channel: &'a str,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<&'a RawValue>,
        code: &'a str,
        message: &'a str,
    },
}

impl Answer<'_> {
    fn frame(&self) -> Bytes {
        // Writing to memory has no way to fail.
        text_frame(&serde_json::to_string(self).unwrap_or_default())
    }
}

pub fn published(reference: &Reference, id: Option<&str>) -> Bytes {
    Answer::Published { r#ref: &reference.0, id }.frame()
}

pub fn subscribed(reference: &Reference, channel: &str, met: &SubscribeResult) -> Bytes {
    let SubscribeResult { recovered, reason, cursor } = met;
    let (recovered, reason, cursor) = (*recovered, *reason, cursor.as_deref());
    Answer::Subscribed { r#ref: &reference.0, channel, recovered, reason, cursor }.frame()
}

pub fn unsubscribed(reference: &Reference, channel: &str) -> Bytes {
    Answer::Unsubscribed { r#ref: &reference.0, channel }.frame()
}

/// `reference`: of what it is about, if that is known.
pub fn error(reference: Option<&Reference>, code: &str, message: &str) -> Bytes {
    let (r#ref, message) = (reference.map(|known| &*known.0), told(message));
    Answer::Error { r#ref, code, message }.frame()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Option<String>, String) {
        let (reference, error) = parse(text).unwrap_err();
        (reference.map(|Reference(json)| json.get().to_owned()), error)
    }

    #[test]
    fn commands_are_read_and_references_come_back_as_they_were() {
        let text = r#"{"publish":{"ref":7.50,"text":{"a":[1, 2]},"key":"k"}}"#;
        let Command::Publish(publish) = parse(text).unwrap() else { panic!() };
        assert_eq!((publish.text.get(), publish.key.as_deref()), (r#"{"a":[1, 2]}"#, Some("k")));
        let frame = published(&publish.r#ref, Some("1-a"));
        let frame = std::str::from_utf8(&frame[2..]).unwrap();
        assert_eq!(frame, r#"{"published":{"ref":7.50,"id":"1-a"}}"#);
        let text = r#"{"subscribe":{"ref":"a","channel":"c","after":"x","history":3}}"#;
        assert!(matches!(parse(text), Ok(Command::Subscribe(_))));
    }

    #[test]
    fn mistakes_are_named_with_their_reference() {
        assert_eq!(refused(r#"{"publish":{"ref":1}}"#).0.as_deref(), Some("1"));
        assert_eq!(refused(r#"{"dance":{"ref":"x"}}"#).0.as_deref(), Some("\"x\""));
        assert!(refused(r#"{"dance":{}}"#).1.contains("publish"));
        for bad in ["", "[]", "1", "{}", "{\"publish\":1}", "hello"] {
            assert_eq!(refused(bad).0, None, "{bad}");
        }
        let long = "9".repeat(MAX_REFERENCE + 1);
        for bad in ["{}", "[1]", "null", "true", &long] {
            let text = format!("{{\"unsubscribe\":{{\"ref\":{bad},\"channel\":\"c\"}}}}");
            assert_eq!(refused(&text).0, None, "{bad}");
        }
    }
}
