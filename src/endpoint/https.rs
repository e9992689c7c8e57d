//! The built-in HTTPS client: hyper and rustls, with the platform's root certificates.

use std::sync::{Arc, OnceLock};

use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{
    transport::Transport,
    url::{EndpointUrl, InvalidEndpointUrl},
};

impl Transport {
    /// Creates a client. None is shared, as connections belong to the runtime that made them.
    pub(crate) fn built_in(url: &EndpointUrl) -> Result<Self, InvalidEndpointUrl> {
        let config = match tls_config() {
            Some(config) => config.clone(),
            None if url.is_https() => return Err(InvalidEndpointUrl::missing_roots()),
            // Cleartext needs no certificates.
            None => config_without_roots(),
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        let mut client = Client::builder(TokioExecutor::new());
        Ok(Self::new(client.pool_timer(TokioTimer::new()).build(connector.build())))
    }
}

/// Cached, as reading the root certificates is slow. If there were none, the next call tries again.
fn tls_config() -> Option<&'static ClientConfig> {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Some(config);
    }
    let config = builder().with_native_roots().ok()?.with_no_client_auth();
    Some(CONFIG.get_or_init(|| config))
}

fn config_without_roots() -> ClientConfig {
    builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
}
