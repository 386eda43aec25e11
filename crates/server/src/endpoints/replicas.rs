//! `GET /replicas`: who serves, and who else does.

use crate::worker::Worker;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

pub async fn list(request: HttpRequest) -> HttpResponse {
    let roster = &Worker::of(&request).state.roster;
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "replica": roster.own().name, "replicas": roster.list() }))
}
