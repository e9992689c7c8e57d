//! kube, with the layer in a custom client stack.

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    client::{Body, ConfigExt},
};
use server::{BoxError, Server, http_client};
use tower::ServiceBuilder;
use tower_reauth::replay::replay_fn;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::start().await?;
    let config = Config::new(server.url("http", "").parse()?);
    let layer = server.session("my-operator")?.layer().restrict_to_origin(server.url("http", "").parse()?);

    // This replaces `config.auth_layer()`. For HTTPS, the client needs a connector of `config`.
    let service = ServiceBuilder::new()
        // Outside, so that the layer sees the host of a request.
        .layer(config.base_uri_layer())
        // A body of bytes is replayed; a stream isn't.
        .layer(layer.with_replay(replay_fn(Body::try_clone)))
        .service(http_client());
    let client = Client::new(service, config.default_namespace);

    let api = Api::<ConfigMap>::default_namespaced(client);
    let params = PostParams::default();
    let config_maps: Vec<_> = (0..10)
        .map(|number| ConfigMap {
            metadata: ObjectMeta { name: Some(format!("map-{number}")), ..ObjectMeta::default() },
            ..ConfigMap::default()
        })
        .collect();
    let created = join_all(config_maps.iter().map(|config_map| api.create(&params, config_map))).await;
    let mut ok = 0;
    for (created, config_map) in created.into_iter().zip(&config_maps) {
        ok += usize::from(created? == *config_map);
    }
    println!("kube: requests={} refreshes={} ok={ok}", config_maps.len(), server.refreshes());
    Ok(())
}
