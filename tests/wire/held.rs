//! Rejections that are held while their requests wait, over one HTTP/2 connection.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_reauth::{RefreshError, Session, Token, refresh_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Full<Bytes>>;

const CALLERS: usize = 8;
/// One of them exceeds the connection's window.
const REJECTION: usize = 100_000;

/// Accepts only A2. The token endpoint responds once it is `open`.
async fn start_server(open: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let open = open.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let mut open = open.clone();
                async move {
                    let mut response = Response::new(Full::<Bytes>::from("A2"));
                    if request.uri().path() == "/token" {
                        let _ = open.wait_for(|open| *open).await;
                    } else if request.headers()["authorization"] != "Bearer A2" {
                        *response.status_mut() = StatusCode::UNAUTHORIZED;
                        *response.body_mut() = Full::from(vec![b'x'; REJECTION]);
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

fn http() -> Http {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_connection_window_size(65_535)
        .build_http()
}

async fn exchange(http: Http, url: String) -> Result<Token, RefreshError> {
    let request =
        Request::get(format!("{url}/token")).body(Full::default()).map_err(RefreshError::transient)?;
    let response = http.request(request).await.map_err(RefreshError::outcome_unknown)?;
    let body = response.into_body().collect().await.map_err(RefreshError::outcome_unknown)?.to_bytes();
    Ok(Token::try_new(String::from_utf8_lossy(&body))?)
}

/// All callers are rejected and wait before the token endpoint responds.
async fn refresh_while_rejections_are_held<S, B>(inner: S, for_refreshes: Http)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    B: Send + 'static,
{
    let (open, gate) = watch::channel(false);
    let url = start_server(gate).await;
    let endpoint = url.clone();
    let refresher = refresh_fn(move |_| exchange(for_refreshes.clone(), endpoint.clone()));
    let session = Session::builder(refresher)
        .token(Token::try_new("A1").unwrap())
        // Only ends a test that would hang.
        .wait_timeout(Duration::from_secs(60))
        .build();
    let client = ServiceBuilder::new().layer(session.layer()).service(inner);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let request = Request::get(&url).body(Full::default()).unwrap();
        let client = client.clone();
        callers.spawn(async move { client.oneshot(request).await.unwrap().status() });
    }
    while session.status().waiters() < CALLERS {
        tokio::task::yield_now().await;
    }
    open.send(true).unwrap();
    assert_eq!(callers.join_all().await, [StatusCode::OK; CALLERS]);
}

#[tokio::test]
async fn d11_a_refresh_over_its_own_connection_passes_held_rejections() {
    refresh_while_rejections_are_held(http(), http()).await;
}

#[tokio::test]
async fn d11_a_refresh_passes_rejections_that_an_inner_layer_has_read() {
    let http = http();
    let read = async |response: Response<Incoming>| {
        let (head, body) = response.into_parts();
        let body = match head.status {
            StatusCode::UNAUTHORIZED => Either::Left(Full::new(body.collect().await?.to_bytes())),
            _ => Either::Right(body),
        };
        Ok::<_, BoxError>(Response::from_parts(head, body))
    };
    let inner = ServiceBuilder::new().map_err(BoxError::from).service(http.clone()).and_then(read);
    refresh_while_rejections_are_held(inner, http).await;
}
