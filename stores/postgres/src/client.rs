//! The clients of a store's operations.

use std::{
    error::Error as StdError,
    future::Future,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{
    Client, Connection, Error, Row,
    types::{ToSql, Type},
};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// A client for one operation.
pub(crate) trait Lent: Send + Sync {
    fn client(&self) -> &Client;

    /// The operation was dropped before its response came.
    fn give_up(&self);
}

/// One of the program's own.
pub(crate) struct Foreign<C>(pub(crate) C);

/// The store's own connection.
#[derive(Default)]
pub(crate) struct Opened {
    /// While a connection is being opened.
    opening: tokio::sync::Mutex<()>,
    current: Mutex<Option<Arc<Client>>>,
}

/// A client over the store's own connection.
pub(crate) struct OfOpened {
    client: Arc<Client>,
    opened: Arc<Opened>,
}

/// A client, given up unless its response comes.
pub(crate) struct InUse(pub(crate) Option<Box<dyn Lent>>);

// === impl Foreign ===

impl<C: Deref<Target = Client> + Send + Sync> Lent for Foreign<C> {
    fn client(&self) -> &Client {
        &self.0
    }

    fn give_up(&self) {}
}

// === impl Opened ===

impl Opened {
    /// The current connection, or a new one.
    pub(crate) async fn lend<F, Fut, S, T, E>(self: &Arc<Self>, connect: &F) -> Result<OfOpened, BoxError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(Client, Connection<S, T>), E>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Into<BoxError>,
    {
        let _opening = self.opening.lock().await;
        let current = self.current().clone().filter(|client| !client.is_closed());
        let client = match current {
            Some(client) => client,
            None => {
                let (client, connection) = connect().await.map_err(Into::into)?;
                #[allow(clippy::disallowed_methods, reason = "the driver needs tokio, too")]
                tokio::spawn(connection);
                Arc::clone(self.current().insert(Arc::new(client)))
            }
        };
        Ok(OfOpened { client, opened: Arc::clone(self) })
    }

    /// A panic can't leave it half changed.
    fn current(&self) -> std::sync::MutexGuard<'_, Option<Arc<Client>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent for OfOpened {
    fn client(&self) -> &Client {
        &self.client
    }

    /// A firewall may have dropped the connection without a word: the next operation opens another one. This one stays
    /// open for those that are using it.
    fn give_up(&self) {
        self.opened.current().take_if(|current| Arc::ptr_eq(current, &self.client));
    }
}

// === impl InUse ===

impl InUse {
    /// Sends a statement. It isn't prepared, as the next one may run on another connection of a pooler.
    pub(crate) async fn query(
        mut self,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Option<Row>, Error> {
        let client = self.0.as_deref().expect("it is used once");
        let response = client.client().query_typed_opt(statement, parameters).await;
        self.0 = None;
        response
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.give_up();
        }
    }
}
