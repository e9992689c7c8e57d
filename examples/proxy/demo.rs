//! Three APIs behind the proxy, and a thousand calls to each.

use std::{fs, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower_reauth::testing::{Issuer, Resource};

use crate::{
    BoxError,
    config::Config,
    forward::{KEY, Proxy},
};

const CALLS: usize = 1_000;
/// At the same time, to each API.
const CALLERS: usize = 50;
const ITEMS: &str = "a list of items";

/// A request body of two parts.
type Upload = StreamBody<stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, BoxError>, 2>>>;

pub(crate) async fn run() -> Result<(), BoxError> {
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name);
    let (mut issuers, mut apis, mut servers, mut config) =
        (Vec::new(), Vec::new(), Vec::new(), String::new());
    for kind in ["refresh_token", "client_credentials", "json"] {
        let issuer = Issuer::new();
        let api =
            Resource::new(&issuer).respond_with(|_| Response::new(Bytes::from_static(ITEMS.as_bytes())));
        let (issuing, serving) = (issuer.serve().await?, api.serve().await?);
        let refresh_token = issuer.sign_in().refresh_token().unwrap_or_default().to_owned();
        let (secret, source) = match kind {
            "refresh_token" => (refresh_token, "client_id = 'demo'\nrefresh_token_file"),
            "client_credentials" => ("secret".to_owned(), "client_id = 'demo'\nclient_secret_file"),
            _ => (refresh_token, "refresh_token_file"),
        };
        fs::write(file(kind), secret)?;
        let (store, secret_file) = (file(&format!("{kind}.json")), file(kind));
        config += &format!(
            "[[route]]\npath = '/{kind}'\nupstream = '{}'\nstore = {store:?}\n\
             [route.source]\nkind = '{kind}'\ntoken_url = '{}/token'\n{source} = {secret_file:?}\n",
            serving.url(),
            issuing.url(),
        );
        servers.extend([issuing, serving]);
        issuers.push(issuer);
        apis.push((kind, api));
    }
    fs::write(file("proxy.toml"), &config)?;

    let proxy = Arc::new(Proxy::new(&Config::read(&file("proxy.toml"))?)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (url, key) = (format!("http://{}", listener.local_addr()?), proxy.key().to_owned());
    tokio::spawn(Arc::clone(&proxy).serve(listener));
    let client = Client::builder(TokioExecutor::new()).build_http();

    let mut are_refused = true;
    for wrong in ["", &"0".repeat(key.len())] {
        let (code, _) = call(&client, format!("{url}/json/items"), wrong).await?;
        are_refused &= code == StatusCode::FORBIDDEN && issuers.iter().all(|issuer| issuer.requests() == 0);
    }
    let paths = (0..CALLS).flat_map(|_| &apis).map(|(kind, _)| format!("{url}/{kind}/items"));
    let calls = stream::iter(paths).map(|url| call(&client, url, &key));
    let responses: Vec<_> = calls.buffer_unordered(CALLERS * apis.len()).collect().await;
    let is_whole = |response: &Result<(StatusCode, Bytes), BoxError>| matches!(response, Ok((StatusCode::OK, body)) if body == ITEMS);
    let failed = responses.iter().filter(|response| !is_whole(response)).count();

    let (code, status) = call(&client, format!("{url}/_status"), &key).await?;
    print!("{code}\n{}", String::from_utf8_lossy(&status));
    proxy.shut_down().await;
    println!(
        "proxy: routes={} calls={} refreshes={} without_key={} failed={failed}",
        apis.len(),
        apis.iter().map(|(_, api)| api.accepted()).sum::<usize>(),
        issuers.iter().map(Issuer::requests).sum::<usize>(),
        if are_refused { "refused" } else { "forwarded" },
    );
    Ok(())
}

/// Sends an upload in two parts, with a token of the caller's own.
async fn call(
    client: &Client<HttpConnector, Upload>,
    url: String,
    key: &str,
) -> Result<(StatusCode, Bytes), BoxError> {
    let parts = ["an ", "upload"].map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))));
    let request = Request::post(url).header(KEY, key).header("authorization", "Bearer of-the-caller");
    let response = client.request(request.body(StreamBody::new(stream::iter(parts)))?).await?;
    Ok((response.status(), response.into_body().collect().await?.to_bytes()))
}
