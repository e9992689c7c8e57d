//! The client that each operation of a store uses.

use std::{
    error::Error as StdError,
    future::Future,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_postgres::{
    Client, Connection, Error, Row,
    types::{ToSql, Type},
};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// How long an operation waits for the connection that another one is opening: less than its own timeout of 3 s.
const OPENING_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for one operation.
pub(crate) trait OperationClient: Send + Sync {
    fn client(&self) -> &Client;

    /// Called if the operation was dropped before its response arrived.
    fn give_up(&self);
}

/// A client that the program provides.
pub(crate) struct ProgramClient<C>(pub(crate) C);

/// The store's own connection.
#[derive(Default)]
pub(crate) struct StoreConnection {
    /// Locked while a connection is being opened.
    opening: Arc<tokio::sync::Mutex<()>>,
    current: Mutex<Option<Arc<Client>>>,
}

/// A client over the store's own connection.
pub(crate) struct StoreClient {
    client: Arc<Client>,
    connection: Arc<StoreConnection>,
}

/// An operation. If it is dropped before its response arrives, it gives up its client.
pub(crate) struct Operation(pub(crate) Option<Box<dyn OperationClient>>);

// === impl ProgramClient ===

impl<C: Deref<Target = Client> + Send + Sync> OperationClient for ProgramClient<C> {
    fn client(&self) -> &Client {
        &self.0
    }

    fn give_up(&self) {}
}

// === impl StoreConnection ===

impl StoreConnection {
    /// A client over the current connection, or over a new one.
    ///
    /// If this is dropped, a connection that is being opened is kept for the next operation.
    #[allow(clippy::disallowed_methods, reason = "the driver needs tokio, too")]
    pub(crate) async fn client<F, Fut, S, T, E>(
        self: Arc<Self>,
        connect: Arc<F>,
    ) -> Result<StoreClient, BoxError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(Client, Connection<S, T>), E>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Into<BoxError>,
    {
        if let Some(client) = self.current_open() {
            return Ok(StoreClient { client, connection: self });
        }
        // The runtime of the task that opens one may be stalled.
        let opening = timeout(OPENING_TIMEOUT, Arc::clone(&self.opening).lock_owned()).await.ok();
        if let Some(client) = self.current_open() {
            return Ok(StoreClient { client, connection: self });
        }
        let this = Arc::clone(&self);
        let task = tokio::spawn(async move {
            let _opening = opening;
            let (client, connection) = timeout(CONNECT_TIMEOUT, connect()).await?.map_err(Into::into)?;
            tokio::spawn(connection);
            Ok::<_, BoxError>(Arc::clone(this.current().insert(Arc::new(client))))
        });
        Ok(StoreClient { client: task.await??, connection: self })
    }

    fn current_open(&self) -> Option<Arc<Client>> {
        self.current().clone().filter(|client| !client.is_closed())
    }

    /// Ignores poisoning: a panic can't leave the value half changed.
    fn current(&self) -> MutexGuard<'_, Option<Arc<Client>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OperationClient for StoreClient {
    fn client(&self) -> &Client {
        &self.client
    }

    /// A firewall may have dropped the connection silently, so the next operation opens another one. This one stays
    /// open for the operations that are using it.
    fn give_up(&self) {
        self.connection.current().take_if(|current| Arc::ptr_eq(current, &self.client));
    }
}

// === impl Operation ===

impl Operation {
    /// Sends a statement. It isn't prepared, as the next one may run on another connection of a pooler.
    pub(crate) async fn query(
        mut self,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Option<Row>, Error> {
        let client = self.0.as_deref().expect("`query` consumes it");
        let response = client.client().query_typed_opt(statement, parameters).await;
        self.0 = None;
        response
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.give_up();
        }
    }
}
