//! The configuration of HTTP requests and of TLS.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// A client without proxies and redirects, with the trust store of [`tls_config`].
///
/// A machine without any certificates fails at the first `https://` request, not here.
pub fn client() -> ClientBuilder {
    let client = Client::builder().no_proxy().redirect(Policy::none());
    match tls_config() {
        Ok(tls) => client.tls_backend_preconfigured(tls),
        // Cannot happen with ring. If it does, building the client reports it.
        Err(_) => client,
    }
}

/// TLS with the system's trust store, or the one in `SSL_CERT_FILE` and `SSL_CERT_DIR`: the same as the
/// connections to RabbitMQ use.
///
/// # Errors
/// If ring lacks the default TLS versions.
pub fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}
