//! The TLS configuration.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

use super::error::TlsError;

pub(super) fn config() -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider().ok_or(TlsError::MISSING_PROVIDER)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsError::MISSING_PROVIDER)?;
    let roots = roots().ok_or(TlsError::MISSING_ROOTS)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Never `ClientConfig::builder()`: it panics in a program with two providers, and otherwise installs one.
fn provider() -> Option<Arc<CryptoProvider>> {
    let provider = CryptoProvider::get_default().cloned();
    #[cfg(feature = "https-ring")]
    let provider = provider.or_else(|| Some(Arc::new(rustls::crypto::ring::default_provider())));
    #[cfg(feature = "https-aws-lc")]
    let provider = provider.or_else(|| Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider())));
    provider
}

/// Cached, as reading the root certificates is slow. If there were none, the next call tries again.
fn roots() -> Option<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Some(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    (!roots.is_empty()).then(|| Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}
