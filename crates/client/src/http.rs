//! Where this program is a client itself: of a collector of traces, and of replicas in `warren check` and
//! `warren load`.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// A client that goes where it is told to: through no proxy, and not where an answer points.
///
/// Where there are no certificates at all, `https://` fails and nothing else does, which is why the
/// client does not look for them itself.
pub fn client() -> ClientBuilder {
    let client = Client::builder().no_proxy().redirect(Policy::none());
    match tls() {
        Ok(tls) => client.tls_backend_preconfigured(tls),
        // ring has these versions; if not, building the client says so.
        Err(_) => client,
    }
}

/// Trusts whom the system trusts, or `SSL_CERT_FILE` and `SSL_CERT_DIR`, as the connections to RabbitMQ
/// do.
///
/// # Errors
/// If ring did not have the versions of TLS that are asked for.
pub fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

/// The beginning of a text from outside, on one line.
pub fn quote(text: &str, most: usize) -> String {
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(most).collect::<String>().trim().to_owned()
}
