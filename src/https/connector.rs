//! [`HttpsConnector`].

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Either, select};
use http::{Uri, uri::Scheme};
use http_body::Body;
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tower_service::Service;

use super::{
    error::{ConnectError, ConnectErrorKind, TlsError},
    stream::{HttpsStream, Stream},
    tls,
};
use crate::{
    error::BoxError,
    rt::{Clock, SystemClock},
};

/// A connector for hyper-util's client.
///
/// See the [module docs](super). It negotiates HTTP/1.1. For HTTP/2 or other root certificates, use
/// [hyper-rustls](https://docs.rs/hyper-rustls).
#[derive(Clone)]
#[must_use]
pub struct HttpsConnector {
    http: HttpConnector,
    /// If `None`, only `http` URLs are accepted.
    tls: Option<Arc<ClientConfig>>,
    proxies: Option<Arc<Matcher>>,
    timeout: Duration,
}

/// The future of [`HttpsConnector`].
#[must_use = "futures do nothing unless you .await or poll them"]
pub struct Connecting {
    inner: Pin<Box<dyn Future<Output = Result<HttpsStream, ConnectError>> + Send>>,
}

// === impl HttpsConnector ===

impl HttpsConnector {
    /// Creates a connector for `https` and `http` URLs.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if there is no crypto provider, or if no root certificates were found.
    pub fn try_new() -> Result<Self, TlsError> {
        Ok(Self::with_tls(Some(tls::config()?)))
    }

    /// A connector for `http` URLs, which needs neither a crypto provider nor root certificates.
    #[cfg(feature = "__endpoint")]
    pub(crate) fn cleartext_only() -> Self {
        Self::with_tls(None)
    }

    fn with_tls(tls: Option<Arc<ClientConfig>>) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(tls.is_none());
        let this = Self { http, tls, proxies: None, timeout: Duration::ZERO };
        this.connect_timeout(DEFAULT_TIMEOUT).proxy_from_env(true)
    }

    /// Sets the timeout of one attempt to connect: name resolution, TCP, the proxy, and the TLS handshake.
    ///
    /// Default: 3 s. A request that fails because of it wasn't sent, see [`ConnectError::is_timeout`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        // Shared by the host's addresses, so that one that drops packets doesn't use up the time.
        self.http.set_connect_timeout(Some(timeout));
        self
    }

    /// Sets whether to use the proxy that the environment names, see the [module docs](super#proxies).
    ///
    /// Default: `true`. The environment is read when the connector is created.
    pub fn proxy_from_env(mut self, enabled: bool) -> Self {
        self.proxies = enabled.then(|| Arc::new(Matcher::from_env()));
        self
    }

    /// Creates a client with hyper-util's defaults.
    ///
    /// For other settings, pass the connector to hyper-util's `Client::builder`. Connections belong to the
    /// tokio runtime that made them, so don't share a client between runtimes.
    pub fn into_client<B>(self) -> Client<Self, B>
    where
        B: Body + Send,
        B::Data: Send,
    {
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(self)
    }

    async fn connect(self, target: Uri) -> Result<HttpsStream, ConnectError> {
        // To a proxy, a cleartext request would show its token.
        let is_https = target.scheme() == Some(&Scheme::HTTPS);
        let proxy = self.proxies.as_ref().filter(|_| is_https).and_then(|proxies| proxies.intercept(&target));
        let error = |kind| ConnectError::new(kind, proxy.as_ref().map(Intercept::uri));
        let timeout = SystemClock.sleep(self.timeout).map_err(|no_timer| error(no_timer.into()))?;
        let stream = pin!(open(self.http, self.tls, target, proxy.as_ref()));
        // The timer first: the TCP connector's own may end in the same poll, and its error says less.
        match select(timeout, stream).await {
            Either::Left(_) => Err(error(ConnectErrorKind::Timeout(self.timeout))),
            Either::Right((stream, _)) => stream.map(HttpsStream::new).map_err(error),
        }
    }
}

impl Service<Uri> for HttpsConnector {
    type Response = HttpsStream;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Connecting {
        Connecting { inner: Box::pin(self.clone().connect(target)) }
    }
}

impl fmt::Debug for HttpsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the proxies, as their URLs may contain a password.
        f.debug_struct("HttpsConnector").field("connect_timeout", &self.timeout).finish_non_exhaustive()
    }
}

// === impl Connecting ===

impl Future for Connecting {
    type Output = Result<HttpsStream, ConnectError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}

async fn open(
    http: HttpConnector,
    tls: Option<Arc<ClientConfig>>,
    target: Uri,
    proxy: Option<&Intercept>,
) -> Result<Box<dyn Stream>, ConnectErrorKind> {
    let Some(tls) = tls else { return call(http, target).await };
    let direct = hyper_rustls::HttpsConnector::from((http, Arc::clone(&tls)));
    let Some(proxy) = proxy else { return call(direct, target).await };
    if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) {
        return Err(ConnectErrorKind::UnsupportedProxy);
    }
    let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    call(hyper_rustls::HttpsConnector::from((tunnel, tls)), target).await
}

async fn call<S>(mut connector: S, target: Uri) -> Result<Box<dyn Stream>, ConnectErrorKind>
where
    S: Service<Uri, Response: Stream, Error: Into<BoxError>>,
{
    let failed = |error: S::Error| ConnectErrorKind::Failed(Arc::from(error.into()));
    poll_fn(|cx| connector.poll_ready(cx)).await.map_err(failed)?;
    Ok(Box::new(connector.call(target).await.map_err(failed)?))
}

/// Three attempts fit into the 10 s of an exchange.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
