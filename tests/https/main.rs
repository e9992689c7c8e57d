//! The built-in client over TLS.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and use tokio's tasks and timers"
)]

mod providers;
mod proxies;

use std::{convert::Infallible, env, fs, process::Command, sync::Arc};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, crypto::ring};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tower_reauth::{
    RefreshContext, RefreshError, Refresher,
    endpoint::EndpointError,
    https::{ConnectError, HttpsConnector},
    oauth2,
};

const URL: &str = "TOWER_REAUTH_TEST_URL";

/// What the client reads from the environment.
const ENVIRONMENT: [&str; 11] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "REQUEST_METHOD",
];

/// Runs a test again in its own process, with `URL` and nothing but `variables` in the client's environment.
fn in_child(test: &str, url: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(env::current_exe().unwrap());
    for name in ENVIRONMENT {
        command.env_remove(name);
    }
    command.args(["--exact", test, "--nocapture"]).env(URL, url).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(passed, "{test} failed in its own process, with {variables:?}:\n{stdout}\n{stderr}");
}

/// A certificate for the server and the proxy, which is also the only root.
struct Certificate {
    acceptor: TlsAcceptor,
    roots: tempfile::NamedTempFile,
}

impl Certificate {
    fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), HOST.to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let key = certified.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let roots = tempfile::NamedTempFile::new().unwrap();
        fs::write(&roots, certified.cert.pem()).unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), roots }
    }

    fn roots(&self) -> &str {
        self.roots.path().to_str().unwrap()
    }
}

/// A name that no resolver knows.
const HOST: &str = "id.example.test";

/// Starts a token endpoint and returns its port.
async fn start(certificate: &Certificate) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = certificate.acceptor.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that doesn't trust the certificate closes the connection.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve(stream).await;
            });
        }
    });
    port
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|_| async {
        let body = r#"{"access_token":"A1","token_type":"Bearer","expires_in":60}"#;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn refresh(url: &str) -> Result<String, RefreshError> {
    refresh_with(&oauth2::Client::try_new(url, "service").unwrap()).await
}

async fn refresh_through(connector: HttpsConnector, url: &str) -> Result<String, RefreshError> {
    let client = oauth2::Client::try_with_transport(url, "service", connector.into_client()).unwrap();
    refresh_with(&client).await
}

async fn refresh_with(client: &oauth2::Client) -> Result<String, RefreshError> {
    let token = client.client_credentials_grant().refresh(RefreshContext::default()).await?;
    Ok(token.access_token().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_client_trusts_the_platforms_roots() {
    match env::var(URL) {
        Ok(url) => assert_eq!(refresh(&url).await.unwrap(), "A1"),
        Err(_) => {
            let certificate = Certificate::new();
            let url = format!("https://localhost:{}/token", start(&certificate).await);
            let variables = [("SSL_CERT_FILE", certificate.roots())];
            in_child("the_built_in_client_trusts_the_platforms_roots", &url, &variables);
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
            assert_eq!(message, "failed to send the token request");
            assert!(!ConnectError::find(&error).unwrap().is_timeout());
        }
        Err(_) => {
            let (certificate, other) = (Certificate::new(), Certificate::new());
            let url = format!("https://localhost:{}/token", start(&certificate).await);
            let variables = [("SSL_CERT_FILE", other.roots())];
            in_child("p15_nothing_is_sent_to_an_untrusted_server", &url, &variables);
        }
    }
}

#[test]
fn without_root_certificates_the_constructor_fails() {
    match env::var(URL) {
        Ok(url) => {
            let error = oauth2::Client::try_new(url.as_str(), "service").unwrap_err();
            assert!(error.tls_error().unwrap().is_missing_root_certificates(), "{error}");
            assert_eq!(Some(HttpsConnector::try_new().unwrap_err()), error.tls_error());
            // None are needed for loopback.
            assert!(oauth2::Client::try_new("http://127.0.0.1:1/token", "service").is_ok());
        }
        Err(_) => {
            let none = tempfile::NamedTempFile::new().unwrap();
            let variables = [("SSL_CERT_FILE", none.path().to_str().unwrap())];
            let test = "without_root_certificates_the_constructor_fails";
            in_child(test, "https://localhost/token", &variables);
        }
    }
}

/// The clock is paused: it moves on once the client does nothing but wait.
#[tokio::test(start_paused = true)]
async fn a_connect_timeout_is_not_an_unknown_outcome() {
    use std::time::Duration;

    match env::var(URL) {
        Ok(url) => {
            let connector = HttpsConnector::try_new().unwrap().connect_timeout(Duration::from_secs(1));
            let error = refresh_through(connector, &url).await.unwrap_err();
            assert!(error.is_transient() && !error.is_outcome_unknown(), "{error:?}");
            let cause = ConnectError::find(&error).unwrap();
            assert!(cause.is_timeout(), "{cause:?}");
            assert_eq!(cause.to_string(), "failed to connect within 1s");

            // By default, too, an attempt to connect ends before the exchange does.
            let error = refresh(&url).await.unwrap_err();
            assert!(error.is_transient() && !error.is_outcome_unknown(), "{error:?}");
        }
        Err(_) => {
            // TCP connects, but nobody answers the TLS handshake.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("https://{}/token", listener.local_addr().unwrap());
            let certificate = Certificate::new();
            let variables = [("SSL_CERT_FILE", certificate.roots())];
            in_child("a_connect_timeout_is_not_an_unknown_outcome", &url, &variables);
        }
    }
}
