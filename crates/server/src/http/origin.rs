//! Which web pages may use this replica from a browser.

use super::error::ApiError;
use actix_web::HttpResponseBuilder;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use warren_config::Origins;

/// Checks the Origin header, which browsers always send and scripts cannot set. A client without one is
/// not a browser; no browser sends two. Returns the origin, if there is one.
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
    // The origins of apps, such as app://localhost, have no host.
    let origin_host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let same_host = origin_host
        .filter(|name| !name.is_empty())
        .is_some_and(|name| host.is_some_and(|host| host.eq_ignore_ascii_case(name)));
    if listed || same_host { Ok(Some(value)) } else { Err(ApiError::Origin) }
}

/// Lets pages of a checked origin read a response.
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
    fn same_host_and_clients_without_origin_are_allowed() {
        for origin in [None, Some("http://chat.example:8080"), Some("https://Chat.example:8080")] {
            assert!(checked(&Origins::SameHost, origin, "chat.example:8080"), "{origin:?}");
        }
    }

    #[test]
    fn other_origins_are_refused() {
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
    fn listed_origins_are_allowed() {
        let listed = Origins::Listed(vec!["https://app.example".into()]);
        assert!(checked(&listed, ["https://app.example"], "ws.example"));
        assert!(!checked(&listed, ["http://app.example"], "ws.example"));
        assert!(checked(&Origins::Any, ["null"], "ws.example"));
    }
}
