//! `GET /ws`: who may connect, and to what.

use crate::hub::Start;
use crate::message::Channel;
use crate::shutdown::Phase;
use crate::transport::connections::Permit;
use crate::transport::error::ApiError;
use crate::transport::origin;
use crate::transport::upgrade::Takeable;
use crate::transport::worker::Worker;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use std::rc::Rc;

/// Channels that one connection may listen to.
const MAX_CHANNELS: usize = 64;

/// A client that was let in, on its way from the handshake to its connection.
#[derive(Debug)]
pub struct Admitted {
    /// At least one; the first is the one it publishes to.
    pub channels: Vec<Channel>,
    after: Option<String>,
    history: usize,
    pub permit: Permit,
}

impl Admitted {
    pub fn start(&self) -> Start<'_> {
        Start { after: self.after.as_deref(), history: self.history }
    }
}

/// Lets a client in, or says why not.
pub async fn handshake(
    request: HttpRequest,
    payload: web::Payload,
    query: Result<web::Query<Vec<(String, String)>>, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let result = admit(&request, payload, query, &worker);
    if let Err(error) = &result {
        worker.house.metrics.handshake_refused(error.code());
    }
    result
}

fn admit(
    request: &HttpRequest,
    payload: web::Payload,
    query: Result<web::Query<Vec<(String, String)>>, actix_web::Error>,
    worker: &Rc<Worker>,
) -> Result<HttpResponse, ApiError> {
    let house = &worker.house;
    origin::check(&house.config.allowed_origins, request.headers())?;
    let query = query.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let (channels, after, history) = parse(&query)?;
    // The stream and session of actix-ws are not used: the socket itself will be ours.
    let (mut response, ..) = actix_ws::handle(request, payload)
        .map_err(|error| ApiError::NoWebSocket(error.to_string()))?;
    if request.extensions().get::<Takeable>().is_none() {
        return Err(ApiError::NoWebSocket("Upgrade must be exactly 'websocket'".to_owned()));
    }
    if *house.phase.borrow() >= Phase::Draining {
        return Err(ApiError::ShuttingDown);
    }
    let permit = house.connections.acquire().ok_or(ApiError::TooManyConnections)?;
    response.extensions_mut().insert(Admitted { channels, after, history, permit });
    Ok(response)
}

type Query = (Vec<Channel>, Option<String>, usize);

/// Reads `channel` (repeatable), `after` and `history`. Other names are left to later versions.
fn parse(query: &[(String, String)]) -> Result<Query, ApiError> {
    let mut channels: Vec<Channel> = Vec::new();
    let (mut after, mut history) = (None, 0);
    for (name, value) in query {
        match name.as_str() {
            "channel" => {
                let channel = Channel::new(value)
                    .map_err(|error| ApiError::BadRequest(format!("channel: {error}")))?;
                if !channels.contains(&channel) {
                    channels.push(channel);
                }
            }
            "after" if !value.is_empty() => after = Some(value.clone()),
            "history" => {
                history = value.parse().map_err(|_| {
                    ApiError::BadRequest("history: a whole number of messages".to_owned())
                })?;
            }
            _ => {}
        }
        if channels.len() > MAX_CHANNELS {
            return Err(ApiError::BadRequest(format!("channel: at most {MAX_CHANNELS} of them")));
        }
    }
    if channels.is_empty() {
        channels.push(Channel::default());
    }
    Ok((channels, after, history))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<(Vec<String>, Option<String>, usize), String> {
        let query = web::Query::<Vec<(String, String)>>::from_query(query).unwrap();
        let (channels, after, history) = parse(&query).map_err(|error| error.to_string())?;
        Ok((channels.iter().map(ToString::to_string).collect(), after, history))
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
