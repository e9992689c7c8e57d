//! The choice of a crypto provider. With all features there are two. `tests/tls` tests the other choices.

use std::env;

use rustls::crypto::{CryptoProvider, ring};
use tower_reauth::{https::HttpsConnector, oauth2};

use super::{Certificate, URL, in_child};

const ENDPOINT: &str = "https://id.example.com/token";

#[test]
fn d57_with_two_providers_the_client_chooses_one_and_installs_none() {
    if env::var(URL).is_ok() {
        assert!(oauth2::Client::try_new(ENDPOINT, "service").is_ok());
        assert!(CryptoProvider::get_default().is_none());
        return;
    }
    let certificate = Certificate::new();
    let test = "providers::d57_with_two_providers_the_client_chooses_one_and_installs_none";
    in_child(test, ENDPOINT, &[("SSL_CERT_FILE", certificate.roots())]);
}

#[test]
fn d57_an_installed_provider_takes_precedence() {
    if env::var(URL).is_ok() {
        assert!(HttpsConnector::try_new().is_ok());
        // One that can be recognised, as it can't be used.
        let unusable = CryptoProvider { cipher_suites: Vec::new(), ..ring::default_provider() };
        unusable.install_default().unwrap();
        assert!(HttpsConnector::try_new().unwrap_err().is_missing_crypto_provider());
        let error = oauth2::Client::try_new(ENDPOINT, "service").unwrap_err();
        assert!(error.tls_error().unwrap().is_missing_crypto_provider(), "{error}");
        return;
    }
    let certificate = Certificate::new();
    let test = "providers::d57_an_installed_provider_takes_precedence";
    in_child(test, ENDPOINT, &[("SSL_CERT_FILE", certificate.roots())]);
}
