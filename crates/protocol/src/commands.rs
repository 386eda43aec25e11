//! The subprotocol `warren.v1`: commands of a client, and the frames that answer them.

use crate::websocket::text_frame;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Name of the subprotocol.
pub const V1: &str = "warren.v1";
/// Longest reference in bytes, as JSON.
const MAX_REFERENCE: usize = 64;

/// A client's name for a command: a JSON string or number, returned unchanged in the answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
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

/// A command of a client.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    Publish(PublishCommand),
    Subscribe(SubscribeCommand),
    Unsubscribe(UnsubscribeCommand),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishCommand {
    pub r#ref: Reference,
    pub channel: Option<String>,
    pub text: Box<RawValue>,
    pub key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeCommand {
    pub r#ref: Reference,
    pub channel: String,
    pub after: Option<String>,
    #[serde(default)]
    pub history: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeCommand {
    pub r#ref: Reference,
    pub channel: String,
}

/// The error of a text that is no command.
#[derive(Debug)]
pub struct InvalidCommand {
    /// The command's reference, if one can be read.
    pub reference: Option<Reference>,
    pub message: String,
}

impl Command {
    /// Parses a command.
    ///
    /// # Errors
    /// [`InvalidCommand`], for text that is not exactly one known command.
    pub fn parse(text: &str) -> Result<Self, InvalidCommand> {
        serde_json::from_str(text).map_err(|error| {
            #[derive(Deserialize)]
            struct Any {
                r#ref: Option<Reference>,
            }
            let any = serde_json::from_str::<BTreeMap<String, Any>>(text).ok();
            let one = any.filter(|any| any.len() == 1);
            let reference = one.and_then(|any| any.into_values().next()?.r#ref);
            InvalidCommand { reference, message: error.to_string() }
        })
    }

    pub fn reference(&self) -> &Reference {
        match self {
            Self::Publish(publish) => &publish.r#ref,
            Self::Subscribe(subscribe) => &subscribe.r#ref,
            Self::Unsubscribe(unsubscribe) => &unsubscribe.r#ref,
        }
    }
}

/// An answer to a command: one JSON object under one name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandAnswer<'a> {
    Published {
        r#ref: &'a Reference,
        id: Option<&'a str>,
    },
    Subscribed {
        r#ref: &'a Reference,
        channel: &'a str,
        recovered: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    },
    Unsubscribed {
        r#ref: &'a Reference,
        channel: &'a str,
    },
    Error {
        /// The reference of the command, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<&'a Reference>,
        code: &'a str,
        message: &'a str,
    },
}

impl CommandAnswer<'_> {
    /// The WebSocket frame.
    pub fn frame(&self) -> Bytes {
        // Serializing to memory cannot fail.
        text_frame(&serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_error(text: &str) -> (Option<String>, String) {
        let InvalidCommand { reference, message } = Command::parse(text).unwrap_err();
        (reference.map(|Reference(json)| json.get().to_owned()), message)
    }

    #[test]
    fn references_are_returned_unchanged() {
        let text = r#"{"publish":{"ref":7.50,"text":{"a":[1, 2]},"key":"k"}}"#;
        let Command::Publish(publish) = Command::parse(text).unwrap() else { panic!() };
        assert_eq!((publish.text.get(), publish.key.as_deref()), (r#"{"a":[1, 2]}"#, Some("k")));
        let answer = CommandAnswer::Published { r#ref: &publish.r#ref, id: Some("1-a") };
        let frame = answer.frame();
        let frame = std::str::from_utf8(&frame[2..]).unwrap();
        assert_eq!(frame, r#"{"published":{"ref":7.50,"id":"1-a"}}"#);
        let text = r#"{"subscribe":{"ref":"a","channel":"c","after":"x","history":3}}"#;
        assert!(matches!(Command::parse(text), Ok(Command::Subscribe(_))));
    }

    #[test]
    fn parse_errors_carry_the_reference_of_the_command() {
        assert_eq!(parse_error(r#"{"publish":{"ref":1}}"#).0.as_deref(), Some("1"));
        assert_eq!(parse_error(r#"{"dance":{"ref":"x"}}"#).0.as_deref(), Some("\"x\""));
        assert!(parse_error(r#"{"dance":{}}"#).1.contains("publish"));
        for bad in ["", "[]", "1", "{}", "{\"publish\":1}", "hello"] {
            assert_eq!(parse_error(bad).0, None, "{bad}");
        }
        let long = "9".repeat(MAX_REFERENCE + 1);
        for bad in ["{}", "[1]", "null", "true", &long] {
            let text = format!("{{\"unsubscribe\":{{\"ref\":{bad},\"channel\":\"c\"}}}}");
            assert_eq!(parse_error(&text).0, None, "{bad}");
        }
    }
}
