//! Which web pages may use this server through their visitors' browsers.

use super::error::ApiError;
use crate::config::Origins;
use actix_web::HttpResponseBuilder;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};

/// Checks the Origin header, which browsers always send and scripts cannot set. Who sends none is
/// no browser, and nobody's visitor. The origin, if there is one.
///
/// # Errors
/// [`ApiError::Origin`].
pub fn check<'a>(
    allowed: &Origins,
    headers: &'a HeaderMap,
) -> Result<Option<&'a HeaderValue>, ApiError> {
    let Some(value) = headers.get(ORIGIN) else { return Ok(None) };
    if *allowed == Origins::Any {
        return Ok(Some(value));
    }
    let origin = value;
    let origin = origin.to_str().map_err(|_| ApiError::Origin)?.to_ascii_lowercase();
    let listed = match allowed {
        Origins::Listed(list) => list.contains(&origin),
        Origins::SameHost | Origins::Any => false,
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let same_host = origin.split_once("://").is_some_and(|(_, of_origin)| {
        host.is_some_and(|host| host.eq_ignore_ascii_case(of_origin))
    });
    if listed || same_host { Ok(Some(value)) } else { Err(ApiError::Origin) }
}

/// Lets pages of an origin that was checked read an answer.
pub fn allow(response: &mut HttpResponseBuilder, origin: Option<&HeaderValue>) {
    response.insert_header((VARY, "Origin"));
    if let Some(origin) = origin {
        response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(allowed: &Origins, origin: Option<&str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        check(allowed, &headers).is_ok()
    }

    #[test]
    fn pages_of_the_same_host_and_programs_may_connect() {
        for origin in [None, Some("http://chat.example:8080"), Some("https://Chat.example:8080")] {
            assert!(checked(&Origins::SameHost, origin, "chat.example:8080"), "{origin:?}");
        }
    }

    #[test]
    fn other_pages_may_not() {
        let others =
            ["http://evil.example", "http://chat.example", "null", "chat.example:8080", ""];
        for origin in others {
            assert!(!checked(&Origins::SameHost, Some(origin), "chat.example:8080"), "{origin}");
        }
    }

    #[test]
    fn unless_they_are_listed() {
        let listed = Origins::Listed(vec!["https://app.example".into()]);
        assert!(checked(&listed, Some("https://app.example"), "ws.example"));
        assert!(!checked(&listed, Some("http://app.example"), "ws.example"));
        assert!(checked(&Origins::Any, Some("null"), "ws.example"));
    }
}
