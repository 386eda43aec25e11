//! Which web pages may use this server through their visitors' browsers.

use super::error::ApiError;
use actix_web::HttpResponseBuilder;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use warren_config::Origins;

/// Checks the Origin header, which browsers always send and scripts cannot set. Who sends none is
/// no browser, and nobody's visitor; no browser sends two. The origin, if there is one.
///
/// # Errors
/// [`ApiError::Origin`].
pub fn check<'a>(
    allowed: &Origins,
    headers: &'a HeaderMap,
) -> Result<Option<&'a HeaderValue>, ApiError> {
    let mut origins = headers.get_all(ORIGIN);
    let Some(value) = origins.next() else { return Ok(None) };
    if origins.next().is_some() {
        return Err(ApiError::Origin);
    }
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
    // What an app calls an origin of its own, such as app://localhost, has no host.
    let of_origin = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let same_host = of_origin
        .filter(|name| !name.is_empty())
        .is_some_and(|of_origin| host.is_some_and(|host| host.eq_ignore_ascii_case(of_origin)));
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

    fn checked<'a>(
        allowed: &Origins,
        origins: impl IntoIterator<Item = &'a str>,
        host: &str,
    ) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
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
        for origin in [
            "http://evil.example",
            "http://chat.example",
            "http://chat.example:80801",
            "http://chat.example:8080/",
            "http://user@chat.example:8080",
            "http://evil.example://chat.example:8080",
            "app://chat.example:8080",
            "null",
            "chat.example:8080",
            "",
        ] {
            assert!(!checked(&Origins::SameHost, [origin], "chat.example:8080"), "{origin}");
        }
        assert!(!checked(&Origins::SameHost, ["http://"], ""));
        let two = ["http://chat.example", "http://chat.example"];
        assert!(!checked(&Origins::SameHost, two, "chat.example"));
        assert!(!checked(&Origins::Any, two, "chat.example"));
    }

    #[test]
    fn unless_they_are_listed() {
        let listed = Origins::Listed(vec!["https://app.example".into()]);
        assert!(checked(&listed, ["https://app.example"], "ws.example"));
        assert!(!checked(&listed, ["http://app.example"], "ws.example"));
        assert!(checked(&Origins::Any, ["null"], "ws.example"));
    }
}
