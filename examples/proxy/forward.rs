//! The proxy: checks the caller's key, and forwards requests with a token.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use chacha20poly1305::aead::{OsRng, rand_core::RngCore};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    Auth, Health,
    https::HttpsConnector,
    replay::{Buffered, BufferedBody},
    store::SharedSession,
};

use crate::{BoxError, config::Config};

/// The header in which a caller sends the key.
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-proxy-key");

pub(crate) struct Proxy {
    /// Generated for this run.
    key: String,
    routes: Vec<Route>,
}

struct Route {
    path: String,
    upstream: String,
    session: SharedSession,
    client: Auth<Client<HttpsConnector, BufferedBody<Incoming>>, Buffered>,
}

type Body = Either<Incoming, Full<Bytes>>;

/// Headers about one connection, which aren't forwarded (RFC 9110 §7.6.1).
const HOP_BY_HOP: &str = "connection,keep-alive,proxy-authenticate,proxy-authorization,proxy-connection,te,trailer,transfer-encoding,upgrade";

impl Proxy {
    pub(crate) fn new(config: &Config) -> Result<Self, BoxError> {
        let mut key = [0; 16];
        OsRng.fill_bytes(&mut key);
        let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let connector = HttpsConnector::try_new()?;
        let routes = config.routes.iter().map(|route| {
            let session = route.session()?;
            let layer = session.session().layer().restrict_to_origin(route.origin()?);
            // A caller's own token must not go upstream. After a rejection, a request with a body of up to 64
            // KiB is retried.
            let layer = layer.override_existing(true).with_replay(Buffered::default());
            let client = layer.layer(connector.clone().into_client());
            Ok(Route { path: route.path.clone(), upstream: route.upstream.clone(), session, client })
        });
        Ok(Self { key, routes: routes.collect::<Result<_, BoxError>>()? })
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Accepts HTTP/1 and HTTP/2 connections until the future is dropped. Each has a task of its own, which
    /// goes on.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // The process may have too many open files. Closing connections frees some.
                    eprintln!("accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let proxy = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let proxy = Arc::clone(&proxy);
                    async move { Ok::<_, Infallible>(proxy.respond(request).await) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    /// Waits for refreshes in flight, and saves what they return.
    pub(crate) async fn shut_down(&self) {
        for route in &self.routes {
            if let Err(error) = route.session.session().shutdown(Duration::from_secs(10)).await {
                eprintln!("{}: {error}", route.path);
            }
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        let shown = request.headers().get(&KEY).map(|value| value.as_bytes());
        if !shown.is_some_and(|shown| is_equal(shown, self.key.as_bytes())) {
            return text(
                StatusCode::FORBIDDEN,
                format!("the header {KEY} is missing or isn't the proxy's key"),
            );
        }
        if request.uri().path() == "/_status" {
            return self.status();
        }
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let rest = |route: &Route| {
            let rest = path.strip_prefix(&route.path)?;
            (rest.is_empty() || rest.starts_with(['/', '?'])).then(|| rest.to_owned())
        };
        let matching = self.routes.iter().filter_map(|route| Some((route, rest(route)?)));
        let Some((route, rest)) = matching.max_by_key(|(route, _)| route.path.len()) else {
            return text(StatusCode::NOT_FOUND, "no route has this path");
        };
        match route.forward(request, &rest).await {
            Ok(response) => response.map(Either::Left),
            Err(error) => text(StatusCode::BAD_GATEWAY, error.to_string()),
        }
    }

    /// One line for each session. None of them shows a token.
    fn status(&self) -> Response<Body> {
        let statuses: Vec<_> = self.routes.iter().map(|route| route.session.session().status()).collect();
        let is_well = |health| matches!(health, Health::SignedIn | Health::Refreshing | Health::Idle);
        let code = match statuses.iter().all(|status| is_well(status.health())) {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        text(code, statuses.iter().map(|status| format!("{status}\n")).collect::<String>())
    }
}

impl Route {
    /// Both bodies are streamed.
    async fn forward(
        &self,
        mut request: Request<Incoming>,
        rest: &str,
    ) -> Result<Response<Incoming>, BoxError> {
        *request.uri_mut() = format!("{}{rest}", self.upstream).parse::<Uri>()?;
        remove_hop_by_hop(request.headers_mut());
        // The client sets the host of the upstream.
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(&KEY);
        *request.version_mut() = http::Version::HTTP_11;
        let mut response = self.client.clone().oneshot(request).await?;
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    for name in named.chain([HOP_BY_HOP]).collect::<Vec<_>>().join(",").split(',') {
        headers.remove(name.trim());
    }
}

/// Compares in constant time.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(text.into())));
    *response.status_mut() = status;
    response
}
