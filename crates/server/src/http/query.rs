//! What a client asks to listen to, in the query of its request.

use super::error::ApiError;
use crate::session::subscriptions::MAX_CHANNELS;
use crate::session::subscriptions::SubscribeRequest;
use actix_web::web;
use warren_protocol::message::Channel;

/// A query as it comes: names may repeat.
pub type Query = Result<web::Query<Vec<(String, String)>>, actix_web::Error>;

/// Reads `channel` (repeatable), `after` and `history`. Other names are left to later versions, and to
/// `other`.
///
/// # Errors
/// [`ApiError::BadRequest`], which names the parameter.
pub fn wish(
    query: Query,
    mut other: impl FnMut(&str, &str) -> Result<(), ApiError>,
) -> Result<SubscribeRequest, ApiError> {
    let query = query.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let mut wish = SubscribeRequest::default();
    let channels = &mut wish.channels;
    for (name, value) in query.iter() {
        match name.as_str() {
            "channel" => {
                let channel = Channel::new(value)
                    .map_err(|error| ApiError::BadRequest(format!("channel: {error}")))?;
                if !channels.contains(&channel) {
                    channels.push(channel);
                }
            }
            "after" if !value.is_empty() => wish.after = Some(value.clone()),
            "history" => wish.history = number(name, value)?,
            _ => other(name, value)?,
        }
        if channels.len() > MAX_CHANNELS {
            return Err(ApiError::BadRequest(format!("channel: at most {MAX_CHANNELS} of them")));
        }
    }
    Ok(wish)
}

/// A number of messages.
///
/// # Errors
/// [`ApiError::BadRequest`], which names the parameter.
pub fn number(name: &str, value: &str) -> Result<usize, ApiError> {
    let number = value.parse();
    number.map_err(|_| ApiError::BadRequest(format!("{name}: a whole number of messages")))
}

impl SubscribeRequest {
    /// The lobby is what those listen to who name nothing.
    pub fn or_lobby(mut self) -> Self {
        if self.channels.is_empty() {
            self.channels.push(Channel::default());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<(Vec<String>, Option<String>, usize), String> {
        let query = web::Query::<Vec<(String, String)>>::from_query(query).unwrap();
        let wish = wish(Ok(query), |_, _| Ok(())).map_err(|error| error.to_string())?.or_lobby();
        let channels = wish.channels.iter().map(ToString::to_string).collect();
        Ok((channels, wish.after, wish.history))
    }

    #[test]
    fn channels_repeat_and_the_lobby_is_the_default() {
        assert_eq!(parsed(""), Ok((vec!["lobby".into()], None, 0)));
        assert_eq!(
            parsed("channel=b&channel=a+c&channel=b&after=x-1&history=7&later=1"),
            Ok((vec!["b".into(), "a c".into()], Some("x-1".into()), 7))
        );
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["channel=", "channel=%0a", "history=-1", "history=many"] {
            let name = bad.split('=').next().unwrap();
            assert!(parsed(bad).unwrap_err().starts_with(name), "{bad}");
        }
        let many: String = (0..=MAX_CHANNELS).map(|n| format!("channel={n}&")).collect();
        assert!(parsed(&many).is_err());
    }
}
