//! `GET /replicas`: the replica that answers, and all that it knows of.

use crate::worker::Worker;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

/// Answers with the roster.
pub async fn list(request: HttpRequest) -> HttpResponse {
    let roster = &Worker::of(&request).state.roster;
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "replica": roster.own().name, "replicas": roster.list() }))
}
