//! The chat page and the client module. They are part of the binary.

use crate::http::error::only;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY,
};
use actix_web::{HttpRequest, HttpResponse, web};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The page loads nothing from other hosts, and neither inline scripts nor inline styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

const ASSETS: [Asset; 6] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        body: include_str!("../../../../web/index.html"),
    },
    Asset {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        body: include_str!("../../../../web/style.css"),
    },
    Asset {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_str!("../../../../web/app.js"),
    },
    Asset {
        path: "/client.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_str!("../../../../web/client.js"),
    },
    Asset {
        path: "/client.d.ts",
        content_type: "text/plain; charset=utf-8",
        body: include_str!("../../../../web/client.d.ts"),
    },
    Asset {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        body: include_str!("../../../../web/icon.svg"),
    },
];

/// Adds the routes of the page.
pub fn routes(config: &mut web::ServiceConfig) {
    for asset in &ASSETS {
        let etag = etag(asset.body);
        let get = move |request: HttpRequest| {
            let response = respond(asset, &etag, &request);
            async move { response }
        };
        config.service(
            web::resource(asset.path)
                .route(web::get().to(get.clone()))
                .route(web::head().to(get))
                .default_service(only("GET, HEAD")),
        );
    }
}

fn etag(body: &str) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:x}\"", hasher.finish())
}

fn respond(asset: &Asset, etag: &str, request: &HttpRequest) -> HttpResponse {
    let known =
        request.headers().get(IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((ETAG, etag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY));
    if asset.path.starts_with("/client.") {
        // Pages of other sites may import the module. Whether they may connect is decided at the handshake.
        response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    }
    if known {
        response.finish()
    } else {
        response.content_type(asset.content_type).body(asset.body)
    }
}
