//! The query of a request: channels, and where to start in them.

use super::error::ApiError;
use crate::session::{MAX_CHANNELS, SubscribeRequest};
use actix_web::web;
use warren_protocol::message::Channel;

/// The parameters of a query. Names may repeat.
pub type Query = Result<web::Query<Vec<(String, String)>>, actix_web::Error>;

/// Parses `channel` (repeatable), `after` and `history`. Other parameters are passed to `other`.
///
/// # Errors
/// [`ApiError::BadRequest`], which names the parameter.
pub fn subscribe_request(
    query: Query,
    mut other: impl FnMut(&str, &str) -> Result<(), ApiError>,
) -> Result<SubscribeRequest, ApiError> {
    let query = query.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let mut request = SubscribeRequest::default();
    let channels = &mut request.channels;
    for (name, value) in query.iter() {
        match name.as_str() {
            "channel" => {
                let channel = Channel::new(value)
                    .map_err(|error| ApiError::BadRequest(format!("channel: {error}")))?;
                if !channels.contains(&channel) {
                    channels.push(channel);
                }
            }
            "after" if !value.is_empty() => request.after = Some(value.clone()),
            "history" => request.history = number(name, value)?,
            _ => other(name, value)?,
        }
        if channels.len() > MAX_CHANNELS {
            return Err(ApiError::BadRequest(format!("channel: at most {MAX_CHANNELS} of them")));
        }
    }
    Ok(request)
}

/// Parses a number of messages.
///
/// # Errors
/// [`ApiError::BadRequest`], which names the parameter.
pub fn number(name: &str, value: &str) -> Result<usize, ApiError> {
    let number = value.parse();
    number.map_err(|_| ApiError::BadRequest(format!("{name}: a whole number of messages")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<(Vec<String>, Option<String>, usize), String> {
        let query = web::Query::<Vec<(String, String)>>::from_query(query).unwrap();
        let request = subscribe_request(Ok(query), |_, _| Ok(()));
        let request = request.map_err(|error| error.to_string())?.or_default_channel();
        let channels = request.channels.iter().map(ToString::to_string).collect();
        Ok((channels, request.after, request.history))
    }

    #[test]
    fn channels_repeat_and_default_to_the_lobby() {
        assert_eq!(parsed(""), Ok((vec!["lobby".into()], None, 0)));
        assert_eq!(
            parsed("channel=b&channel=a+c&channel=b&after=x-1&history=7&later=1"),
            Ok((vec!["b".into(), "a c".into()], Some("x-1".into()), 7))
        );
    }

    #[test]
    fn errors_name_the_parameter() {
        for bad in ["channel=", "channel=%0a", "history=-1", "history=many"] {
            let name = bad.split('=').next().unwrap();
            assert!(parsed(bad).unwrap_err().starts_with(name), "{bad}");
        }
        let many: String = (0..=MAX_CHANNELS).map(|n| format!("channel={n}&")).collect();
        assert!(parsed(&many).is_err());
    }
}
