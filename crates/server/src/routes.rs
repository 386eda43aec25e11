//! The routes of the client port.

use crate::endpoints::{history, page, publish, replicas};
use crate::http::error::{ApiError, only};
use crate::http::guarded_body::GuardedBody;
use crate::http::guarded_stream::RequestPacing;
use crate::http::held_payload::{self, HeldPayload};
use crate::worker::Worker;
use crate::{sse, ws};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, map_config};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::{App, web};
use std::rc::Rc;

/// Everything that actix-web routes, for one worker.
pub fn app(
    worker: Rc<Worker>,
) -> impl ServiceFactory<
    actix_http::Request,
    Config = (),
    Response = ServiceResponse<BoxBody>,
    Error = actix_web::Error,
    InitError = (),
> {
    let app = App::new()
        .app_data(worker)
        .wrap_fn(|mut request, service| {
            let pacing = RequestPacing::of(request.request());
            pacing.iter().for_each(|pacing| pacing.begin_request());
            let payload = held_payload::hold(&mut request);
            let response = service.call(request);
            async move { Ok(finish(response.await?, pacing, payload)) }
        })
        .service(
            web::resource("/ws").route(web::get().to(ws::handshake)).default_service(only("GET")),
        )
        .service(
            web::resource("/messages")
                .route(web::get().to(history::page))
                .route(web::post().to(publish::publish))
                .default_service(only("GET, POST")),
        )
        .service(
            web::resource("/events").route(web::get().to(sse::events)).default_service(only("GET")),
        )
        .service(
            web::resource("/replicas")
                .route(web::get().to(replicas::list))
                .default_service(only("GET")),
        )
        .configure(page::routes)
        .default_service(web::to(not_found));
    map_config(app.into_factory(), |()| AppConfig::default())
}

/// Adds to a response what all of them have in common.
fn finish(
    mut response: ServiceResponse<BoxBody>,
    pacing: Option<Rc<RequestPacing>>,
    payload: Option<HeldPayload>,
) -> ServiceResponse<BoxBody> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let nosniff = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    }
    response.map_body(|_, body| BoxBody::new(GuardedBody::new(body, pacing, payload)))
}

async fn not_found() -> Result<&'static str, ApiError> {
    Err(ApiError::NotFound)
}
