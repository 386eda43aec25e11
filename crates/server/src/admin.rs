//! The admin port: liveness, readiness and metrics.

use actix_web::dev::Server;
use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
use std::net::TcpListener;
use std::sync::Arc;
use tokio::sync::watch;
use warren_broker::Roster;
use warren_observe::broker_status::BrokerStatus;
use warren_observe::events::SanitizedText;
use warren_observe::phase::Phase;
use warren_observe::reporter::Reporter;

/// State that the answers of the admin port depend on.
#[derive(Clone, Debug)]
pub struct Health {
    pub phase: watch::Receiver<Phase>,
    pub status: watch::Receiver<BrokerStatus>,
    pub roster: Arc<Roster>,
    pub reporter: Arc<Reporter>,
}

impl Health {
    /// Reason why this replica must get no new clients, if there is one.
    fn unready_reason(&self) -> Option<String> {
        if *self.phase.borrow() != Phase::Running {
            return Some("shutting down".to_owned());
        }
        let status = self.status.borrow();
        let reason = status.unready()?.to_string();
        Some(match &status.problem {
            // It may be read on a terminal.
            Some(problem) => format!("{reason}: {}", SanitizedText::of(problem)),
            None => reason,
        })
    }
}

/// Serves the admin port on `listener`.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(listener: TcpListener, health: Health) -> std::io::Result<Server> {
    let health = web::Data::new(health);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(health.clone())
            .route("/livez", web::get().to(livez))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics))
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

/// Liveness: the process is alive as long as it answers. Nothing outside of it is asked.
async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body("alive\n")
}

/// Readiness: 200, or 503 with the reason.
async fn readyz(health: web::Data<Health>) -> HttpResponse {
    match health.unready_reason() {
        None => HttpResponse::Ok().content_type(ContentType::plaintext()).body("ready\n"),
        Some(reason) => HttpResponse::ServiceUnavailable()
            .content_type(ContentType::plaintext())
            .body(format!("not ready: {reason}\n")),
    }
}

/// All metrics, in the text format of Prometheus.
async fn metrics(health: web::Data<Health>) -> HttpResponse {
    health.reporter.phase(*health.phase.borrow());
    health.reporter.ready(health.unready_reason().is_none());
    health.reporter.replicas(health.roster.list().len());
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(health.reporter.render())
}
