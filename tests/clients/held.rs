//! Rejections that are held while their requests wait, over one HTTP/2 connection.

use http::{Response, StatusCode, Version};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use tokio::{sync::watch, task::JoinSet};
use tower::ServiceExt;
use tower_reauth::{AuthLayer, RefreshError, SkipAuth, refresh_fn};

use crate::{
    client::{Client, LONG, Settings, bytes, get, with_option},
    hyper::{HyperClient, http},
    loopback::{Reply, Server},
    session::{session_with, until_waiting, without_token},
    support::{BoxError, token},
};

const CALLERS: usize = 8;
/// One of them exceeds the connection's window.
const REJECTION: usize = 100_000;

/// Accepts only A2. The token endpoint responds once it is `open`.
async fn start_server(open: watch::Receiver<bool>) -> Server {
    Server::start(move |request| {
        let mut open = open.clone();
        async move {
            if request.path == "/token" {
                open.wait_for(|open| *open).await.unwrap();
                return Reply::new("A2 R2 600".into());
            }
            let mut reply = Reply::default();
            if request.token() != "A2" {
                *reply.status_mut() = StatusCode::UNAUTHORIZED;
                *reply.body_mut() = vec![b'x'; REJECTION].into();
            }
            reply
        }
    })
    .await
}

/// All callers are rejected and wait before the token endpoint responds.
async fn refresh_while_rejections_are_held<C: Client>(
    client: impl FnOnce(AuthLayer) -> C,
    for_refreshes: impl Client,
) {
    let (open, gate) = watch::channel(false);
    let server = start_server(gate).await;
    let endpoint = server.url("/token");
    let session = session_with(refresh_fn(move |_| {
        let (for_refreshes, request) = (for_refreshes.clone(), with_option(get(&endpoint), SkipAuth));
        async move {
            let response = for_refreshes.send(request).await.map_err(RefreshError::transient)?;
            Ok(token(&String::from_utf8_lossy(&bytes(response).await)))
        }
    }));
    let client = client(session.layer().wait_timeout(LONG));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, request) = (client.clone(), get(server.url("/")));
        callers.spawn(async move { client.send(request).await.unwrap().status() });
    }
    until_waiting(&session, CALLERS).await;
    open.send(true).unwrap();
    assert_eq!(callers.join_all().await, [StatusCode::OK; CALLERS]);
}

fn settings() -> Settings {
    Settings { window: Some(65_535), ..Version::HTTP_2.into() }
}

async fn d11_a_refresh_over_its_own_connection_passes_held_rejections<C: Client>() {
    let client = |layer| C::new(layer, settings());
    refresh_while_rejections_are_held(client, C::without_token(Version::HTTP_2)).await;
}

on_each_client!(
    #[tokio::test(flavor = "multi_thread")]
    d11_a_refresh_over_its_own_connection_passes_held_rejections,
);

#[tokio::test(flavor = "multi_thread")]
async fn d11_a_refresh_passes_rejections_that_an_inner_layer_has_read() {
    let http = http(settings());
    let read = async |response: Response<Incoming>| {
        let (head, body) = response.into_parts();
        let body = match head.status {
            StatusCode::UNAUTHORIZED => Either::Left(Full::new(body.collect().await?.to_bytes())),
            _ => Either::Right(body),
        };
        Ok::<_, BoxError>(Response::from_parts(head, body))
    };
    let reading = http.clone().map_err(BoxError::from).and_then(read);
    let for_refreshes = HyperClient::over(without_token().layer(), settings(), http);
    refresh_while_rejections_are_held(|layer| HyperClient::over(layer, settings(), reading), for_refreshes)
        .await;
}
