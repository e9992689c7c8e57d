//! The ready-made client over TLS, which trusts the root certificates of the machine.

use std::{env, fs, process::Command, sync::Arc};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, crypto::ring};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower_reauth::{RefreshContext, Refresher, endpoint::EndpointError, oauth2};

const URL: &str = "TOWER_REAUTH_TEST_URL";

/// The root certificates are read once per process, so each case runs in its own.
fn in_child(test: &str, url: &str, roots: &std::path::Path) {
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(URL, url)
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own process");
}

struct Https {
    url: String,
    roots: tempfile::NamedTempFile,
}

/// A token endpoint with a self-signed certificate.
async fn start() -> Https {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = certified.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that doesn't trust the certificate closes the connection.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|_| async {
                    let body = r#"{"access_token":"A1","token_type":"Bearer","expires_in":60}"#;
                    Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(body)))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let roots = tempfile::NamedTempFile::new().unwrap();
    fs::write(&roots, certified.cert.pem()).unwrap();
    Https { url, roots }
}

async fn refresh(url: &str) -> Result<String, tower_reauth::RefreshError> {
    let client = oauth2::Client::try_new(url, "service").unwrap();
    let token = client.client_credentials_grant().refresh(RefreshContext::default()).await?;
    Ok(token.access_token().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_made_client_trusts_the_platforms_roots() {
    match env::var(URL) {
        Ok(url) => assert_eq!(refresh(&url).await.unwrap(), "A1"),
        Err(_) => {
            let server = start().await;
            in_child("the_ready_made_client_trusts_the_platforms_roots", &server.url, server.roots.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_nothing_is_sent_to_an_untrusted_server() {
    match env::var(URL) {
        Ok(url) => {
            let error = refresh(&url).await.unwrap_err();
            assert!(error.is_transient(), "{error:?}");
            let message = EndpointError::find(&error).unwrap().to_string();
            assert_eq!(message, "the token request could not be sent");
        }
        Err(_) => {
            let (server, other) = (start().await, start().await);
            in_child("p15_nothing_is_sent_to_an_untrusted_server", &server.url, other.roots.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_certificates_the_constructor_fails() {
    match env::var(URL) {
        Ok(url) => {
            let error = oauth2::Client::try_new(url.as_str(), "service").unwrap_err();
            assert!(error.is_missing_root_certificates(), "{error}");
            // None are needed for loopback.
            assert!(oauth2::Client::try_new("http://127.0.0.1:1/token", "service").is_ok());
        }
        Err(_) => {
            let none = tempfile::NamedTempFile::new().unwrap();
            let url = "https://localhost/token";
            in_child("without_root_certificates_the_constructor_fails", url, none.path());
        }
    }
}
