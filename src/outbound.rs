//! Requests over HTTP that this program makes: to a collector of traces, and by `warren check`.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// A client that goes where it is told to: through no proxy, and not where an answer points.
///
/// It trusts whom the system trusts, or `SSL_CERT_FILE` and `SSL_CERT_DIR`, as the connections to
/// RabbitMQ do. Where there are no certificates at all, `https://` fails and nothing else does, which is
/// why the client does not look for them itself.
pub fn client() -> ClientBuilder {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|tls| tls.with_root_certificates(roots).with_no_client_auth());
    let client = Client::builder().no_proxy().redirect(Policy::none());
    match tls {
        Ok(tls) => client.tls_backend_preconfigured(tls),
        // ring has these versions; if not, building the client says so.
        Err(_) => client,
    }
}
