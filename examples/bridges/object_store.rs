//! object_store, with the layer in its HTTP service: each request is retried after a rejection.

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::{
    ClientOptions, ObjectStoreExt,
    client::{
        self, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
    http::HttpBuilder,
    path::Path,
};
use server::{BoxError, HttpClient, Server, http_client};
use tower::{Layer, ServiceExt};
use tower_reauth::{Auth, Error};

/// Its bodies are `Clone`, so that the default replay fits.
#[derive(Clone, Debug)]
struct Connector(Auth<HttpClient<HttpRequestBody>>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<client::HttpClient> {
        Ok(client::HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.clone().oneshot(request).await.map_err(|error| {
            // object_store retries on its own, but not an error of the unknown kind.
            let is_final = Error::find(&*error).is_some_and(|error| !error.is_retryable());
            let kind = if is_final { HttpErrorKind::Unknown } else { HttpErrorKind::Interrupted };
            HttpError::new_boxed(kind, error)
        })?;
        Ok(response.map(|body| {
            HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))
        }))
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::start().await?;
    let layer = server.session("my-app")?.layer().restrict_to_origin(server.url("http", "").parse()?);
    let connector = Connector(layer.layer(http_client()));
    let url = server.url("http", "/objects");
    let store = HttpBuilder::new().with_url(url).with_http_connector(connector).build()?;

    let keys = (0..10).map(|number| Path::from(format!("key-{number}"))).collect::<Vec<_>>();
    futures::future::try_join_all(keys.iter().map(|key| store.put(key, "an object".into()))).await?;
    let mut ok = 0;
    for key in &keys {
        ok += usize::from(store.get(key).await?.bytes().await? == "an object");
    }
    println!("object_store: objects={} refreshes={} ok={ok}", keys.len(), server.refreshes());
    Ok(())
}
