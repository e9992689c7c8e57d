//! An axum gateway with a session for each tenant. Bodies are streamed both ways.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use futures::{future::try_join_all, stream};
use http::{StatusCode, header};
use server::{BoxError, HttpClient, Server, http_client, spawn};
use tower::{Layer, ServiceExt};
use tower_reauth::{Auth, replay};

struct Gateway {
    upstream: String,
    tenants: HashMap<&'static str, Auth<HttpClient<replay::BufferedBody<Body>>, replay::Buffered>>,
}

/// The first segment of the path is the tenant. A real gateway also checks who is calling.
async fn forward(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Result<Response, StatusCode> {
    let path = request.uri().to_string();
    let (tenant, path) = path.trim_start_matches('/').split_once('/').ok_or(StatusCode::NOT_FOUND)?;
    let client = gateway.tenants.get(tenant).cloned().ok_or(StatusCode::NOT_FOUND)?;
    let uri = format!("{}/{path}", gateway.upstream);
    *request.uri_mut() = uri.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    request.headers_mut().remove(header::HOST);
    let response = client.oneshot(request).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(response.map(Body::new))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, mut tenants) = (Server::start().await?, HashMap::new());
    for tenant in ["blue", "green"] {
        let layer = server.session(tenant)?.layer().restrict_to_origin(server.url("http", "").parse()?);
        // Otherwise the token of a caller would go upstream.
        let layer = layer.override_existing(true).with_replay(replay::Buffered::default());
        tenants.insert(tenant, layer.layer(http_client()));
    }
    let gateway = Arc::new(Gateway { upstream: server.url("http", ""), tenants });
    let router = Router::new().fallback(forward).with_state(gateway);
    let (address, client) = (spawn(router).await?, http_client());

    let calls = (0..20).map(async |number| {
        let tenant = ["blue", "green"][number % 2];
        let body = Body::from_stream(stream::iter(["an ", "upload"].map(Ok::<_, BoxError>)));
        let request = Request::post(format!("http://{address}/{tenant}/echo"));
        let response =
            client.request(request.header(header::AUTHORIZATION, "Bearer caller").body(body)?).await?;
        let is_tenant = response.headers().get(header::FROM).is_some_and(|from| from == tenant);
        Ok::<_, BoxError>(is_tenant && to_bytes(Body::new(response.into_body()), 1024).await? == "an upload")
    });
    let ok = try_join_all(calls).await?.into_iter().filter(|ok| *ok).count();
    println!("gateway: tenants=2 requests=20 refreshes={} ok={ok}", server.refreshes());
    Ok(())
}
