//! The proxies that the environment names.

use std::{
    env,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tower_reauth::https::{ConnectError, HttpsConnector};

use super::{Certificate, HOST, URL, in_child, refresh, refresh_through, serve, start};

/// An HTTP proxy whose tunnels all lead to one server.
struct Proxy {
    port: u16,
    /// The heads of the requests so far.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(server: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, tls) = (Arc::clone(&log), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => tunnel(tls.accept(stream).await.unwrap(), server, &log).await,
                        None => tunnel(stream, server, &log).await,
                    }
                });
            }
        });
        Self { port, requests }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests since the last call.
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

async fn tunnel(stream: impl AsyncRead + AsyncWrite + Unpin, server: u16, log: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while stream.read_line(&mut head).await.unwrap() > 2 {}
    let is_connect = head.starts_with("CONNECT ");
    log.lock().unwrap().push(head);
    if !is_connect {
        return;
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut upstream).await;
}

/// Requests a token, with the client's default settings.
async fn child() -> bool {
    let Ok(url) = env::var(URL) else { return false };
    assert_eq!(refresh(&url).await.unwrap(), "A1");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_token_requests_go_through_the_environments_proxy() {
    if child().await {
        return;
    }
    let test = "proxies::d81_token_requests_go_through_the_environments_proxy";
    let certificate = Certificate::new();
    let proxy = Proxy::start(start(&certificate).await, None).await;
    // The proxy resolves the name.
    let url = format!("https://{HOST}/token");
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        in_child(test, &url, &[("SSL_CERT_FILE", certificate.roots()), (name, &proxy.url())]);
        let [request] = &proxy.requests()[..] else { panic!("{name}: not one request") };
        assert_eq!(request, &format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_a_proxy_may_have_credentials_and_tls() {
    if child().await {
        return;
    }
    let test = "proxies::d81_a_proxy_may_have_credentials_and_tls";
    let certificate = Certificate::new();
    let proxy = Proxy::start(start(&certificate).await, Some(certificate.acceptor.clone())).await;
    let url = format!("https://{HOST}/token");
    let proxy_url = format!("https://user:pass@localhost:{}", proxy.port);
    in_child(test, &url, &[("SSL_CERT_FILE", certificate.roots()), ("HTTPS_PROXY", &proxy_url)]);
    let [request] = &proxy.requests()[..] else { panic!("not one request") };
    // `user:pass`
    assert!(request.contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_hosts_in_no_proxy_are_reached_directly() {
    if child().await {
        return;
    }
    let test = "proxies::d81_hosts_in_no_proxy_are_reached_directly";
    let certificate = Certificate::new();
    let server = start(&certificate).await;
    let proxy = Proxy::start(server, None).await;
    let url = format!("https://localhost:{server}/token");
    let proxy_url = proxy.url();
    let variables = [("SSL_CERT_FILE", certificate.roots()), ("HTTPS_PROXY", &proxy_url)];
    for name in ["NO_PROXY", "no_proxy"] {
        let [roots, https_proxy] = variables;
        in_child(test, &url, &[roots, https_proxy, (name, "example.com, localhost")]);
        assert_eq!(proxy.requests(), [""; 0], "{name}");
    }
    // Without it, the same request goes through the proxy.
    in_child(test, &url, &variables);
    assert_eq!(proxy.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_a_setting_turns_the_proxy_off() {
    if let Ok(url) = env::var(URL) {
        let connector = HttpsConnector::try_new().unwrap().proxy_from_env(false);
        assert_eq!(refresh_through(connector, &url).await.unwrap(), "A1");
        return;
    }
    let test = "proxies::d81_a_setting_turns_the_proxy_off";
    let certificate = Certificate::new();
    let server = start(&certificate).await;
    let proxy = Proxy::start(server, None).await;
    let url = format!("https://localhost:{server}/token");
    in_child(test, &url, &[("SSL_CERT_FILE", certificate.roots()), ("HTTPS_PROXY", &proxy.url())]);
    assert_eq!(proxy.requests(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_p15_cleartext_never_goes_through_a_proxy() {
    if let Ok(url) = env::var(URL) {
        assert_eq!(refresh(&url).await.unwrap(), "A1");
        assert_eq!(refresh_through(HttpsConnector::try_new().unwrap(), &url).await.unwrap(), "A1");
        return;
    }
    let test = "proxies::d81_p15_cleartext_never_goes_through_a_proxy";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            tokio::spawn(serve(listener.accept().await.unwrap().0));
        }
    });
    let certificate = Certificate::new();
    let proxy = Proxy::start(0, None).await;
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"] {
        in_child(test, &url, &[("SSL_CERT_FILE", certificate.roots()), (name, &proxy.url())]);
        assert_eq!(proxy.requests(), [""; 0], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_p14_an_unusable_proxy_is_an_error_that_names_its_host_alone() {
    if let Ok(url) = env::var(URL) {
        let error = refresh(&url).await.unwrap_err();
        assert!(error.is_transient() && !error.is_outcome_unknown(), "{error:?}");
        let cause = ConnectError::find(&error).unwrap();
        assert_eq!(cause.proxy(), Some("127.0.0.1"));
        assert!(cause.to_string().ends_with("(proxy `127.0.0.1`)"), "{cause}");
        let is_socks = env::var("HTTPS_PROXY").unwrap().starts_with("socks5:");
        assert_eq!(cause.to_string().starts_with("unsupported kind of proxy"), is_socks, "{cause}");
        assert!(!format!("{error} {error:?} {cause} {cause:?}").contains("s3cret"));
        let connector = HttpsConnector::try_new().unwrap();
        assert!(!format!("{connector:?}").contains("s3cret"));
        return;
    }
    let test = "proxies::d81_p14_an_unusable_proxy_is_an_error_that_names_its_host_alone";
    let certificate = Certificate::new();
    // Nobody listens there once it is dropped.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for scheme in ["http", "https", "socks5"] {
        // A password with an unescaped `@`.
        let proxy = format!("{scheme}://user:p@s3cret@127.0.0.1:{port}");
        let variables = [("SSL_CERT_FILE", certificate.roots()), ("HTTPS_PROXY", &proxy)];
        in_child(test, &format!("https://{HOST}/token"), &variables);
    }
}
