//! object_store, with the session as its `CredentialProvider`: for a store that keeps its own HTTP client.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use object_store::{
    CredentialProvider, Error, ObjectStoreExt, Result,
    gcp::{GcpCredential, GoogleCloudStorageBuilder},
    path::Path,
};
use server::{BoxError, Server};
use tower_reauth::{Session, rejection::Verdict};

#[derive(Debug)]
struct Provider(Session);

#[async_trait]
impl CredentialProvider for Provider {
    type Credential = GcpCredential; // For Azure: `AzureCredential`, with a `BearerToken`.

    /// The store calls it for each request, so nothing is cached here.
    async fn get_credential(&self) -> Result<Arc<GcpCredential>> {
        let token = self.0.token().await;
        let token = token.map_err(|error| Error::Generic { store: "session", source: error.into() })?;
        Ok(Arc::new(GcpCredential { bearer: token.secret().to_owned() }))
    }
}

/// Runs an operation, and retries it with a newer token if the server rejects the first: the store doesn't.
async fn retry<T>(session: &Session, operation: impl AsyncFn() -> Result<T>) -> Result<T, BoxError> {
    let judge = |result: &Result<T>| match result {
        Err(Error::Unauthenticated { .. }) => Verdict::reject(),
        _ => Verdict::Accept,
    };
    // The provider returns this token, or a newer one.
    Ok(session.send(async |_| operation().await, judge).await??)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::start().await?;
    let session = server.session("my-app")?;
    let store = GoogleCloudStorageBuilder::new()
        .with_base_url(&server.url("http", ""))
        .with_bucket_name("objects")
        .with_credentials(Arc::new(Provider(session.clone())))
        .build()?;

    let keys = (0..10).map(|number| Path::from(format!("key-{number}"))).collect::<Vec<_>>();
    let put = async |key| retry(&session, async || store.put(key, "an object".into()).await).await;
    try_join_all(keys.iter().map(put)).await?;
    let mut ok = 0;
    for key in &keys {
        let object = retry(&session, async || store.get(key).await?.bytes().await).await?;
        ok += usize::from(object == "an object");
    }
    println!("credential_provider: objects={} refreshes={} ok={ok}", keys.len(), server.refreshes());
    Ok(())
}
