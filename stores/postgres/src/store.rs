//! [`PostgresStore`].

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, pending, ready},
    ops::Deref,
    pin::Pin,
    sync::Arc,
    time::SystemTime,
};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{
    Client, Connection, Error,
    error::SqlState,
    types::{ToSql, Type},
};
use tower_reauth::store::{Loaded, Record, StoreError, Swap, TokenStore, Version};

use crate::{
    client::{BoxError, Operation, OperationClient, ProgramClient, StoreConnection},
    listen::Subscription,
};

/// Keeps a record in a PostgreSQL table, for processes on many hosts. See the [crate's docs](crate).
///
/// # Errors
///
/// | | error |
/// |---|---|
/// | PostgreSQL can't be reached, or refuses the statement | [`is_unavailable`](StoreError::is_unavailable) |
/// | the table is missing; see [`create_table`](Self::create_table) | [`is_unavailable`](StoreError::is_unavailable) |
/// | the name is empty or longer than 512 bytes | [`is_unreadable`](StoreError::is_unreadable) |
pub struct PostgresStore {
    clients: Arc<Clients>,
    name: Arc<str>,
    subscription: Option<Subscription>,
}

type Clients = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Box<dyn OperationClient>, BoxError>> + Send>>
    + Send
    + Sync;

const LONGEST_NAME: usize = 512;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS tower_reauth \
     (name text PRIMARY KEY, version text NOT NULL, record bytea NOT NULL)";
const LOAD: &str = "SELECT version, record, clock_timestamp() FROM tower_reauth WHERE name = $1";
// Each is one statement, so the write and its notification are one transaction.
const SWAP: &str = "WITH w AS (UPDATE tower_reauth SET version = $2, record = $3 \
     WHERE name = $1 AND version = $4 RETURNING version) \
     SELECT version, pg_notify('tower_reauth', $1) FROM w";
const FIRST_SWAP: &str = "WITH w AS (INSERT INTO tower_reauth (name, version, record) VALUES ($1, $2, $3) \
     ON CONFLICT DO NOTHING RETURNING version) \
     SELECT version, pg_notify('tower_reauth', $1) FROM w";

// === impl PostgresStore ===

impl PostgresStore {
    /// Creates a handle on the record with this name, of 1 to 512 bytes, over a connection of its own: `connect` is
    /// called when it is first used, and again after the connection was lost.
    ///
    /// A name of any other length is an error when the store is first used.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use tokio_postgres::NoTls;
    /// use tower_reauth_postgres::PostgresStore;
    ///
    /// let connect = || tokio_postgres::connect("host=db.internal dbname=robots", NoTls);
    /// let store = PostgresStore::connect(connect, "billing-robot").listen(connect);
    /// ```
    pub fn connect<F, Fut, S, T, E>(connect: F, name: &str) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(Client, Connection<S, T>), E>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        let (connection, connect) = (Arc::new(StoreConnection::default()), Arc::new(connect));
        Self::with_clients(move || Arc::clone(&connection).client(Arc::clone(&connect)), name)
    }

    /// Like [`connect`](Self::connect), over a client that the program also uses for other things.
    ///
    /// A client doesn't reconnect: once its connection is lost, the store stays unavailable.
    pub fn new(client: impl Into<Arc<Client>>, name: &str) -> Self {
        let client = client.into();
        Self::from_fn(move || ready(Ok::<_, BoxError>(Arc::clone(&client))), name)
    }

    /// Like [`connect`](Self::connect), with a client for each operation, such as one of a pool.
    ///
    /// # Examples
    ///
    /// With deadpool-postgres, whose clients need a wrapper:
    ///
    /// ```
    /// use std::ops::Deref;
    /// use tokio_postgres::Client;
    /// use tower_reauth_postgres::PostgresStore;
    ///
    /// # mod deadpool_postgres {
    /// #     pub type Object = Box<std::sync::Arc<tokio_postgres::Client>>;
    /// #     #[derive(Clone)]
    /// #     pub struct Pool;
    /// #     impl Pool {
    /// #         pub async fn get(&self) -> Result<Object, std::io::Error> {
    /// #             Err(std::io::ErrorKind::Other.into())
    /// #         }
    /// #     }
    /// # }
    /// struct Pooled(deadpool_postgres::Object);
    ///
    /// impl Deref for Pooled {
    ///     type Target = Client;
    ///
    ///     fn deref(&self) -> &Client {
    ///         &self.0
    ///     }
    /// }
    ///
    /// # let pool = deadpool_postgres::Pool;
    /// let client = move || {
    ///     let pool = pool.clone();
    ///     async move { pool.get().await.map(Pooled) }
    /// };
    /// let store = PostgresStore::from_fn(client, "billing-robot");
    /// ```
    pub fn from_fn<F, Fut, C, E>(client: F, name: &str) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
        C: Deref<Target = Client> + Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::with_clients(
            move || {
                let client = client();
                async move { Ok(ProgramClient(client.await.map_err(Into::into)?)) }
            },
            name,
        )
    }

    fn with_clients<F, Fut, C>(client: F, name: &str) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C, BoxError>> + Send + 'static,
        C: OperationClient + 'static,
    {
        let clients = move || -> Pin<Box<dyn Future<Output = _> + Send>> {
            let client = client();
            Box::pin(async move { Ok(Box::new(client.await?) as Box<dyn OperationClient>) })
        };
        Self { clients: Arc::new(clients), name: name.into(), subscription: None }
    }

    /// A handle on another record, over the same connections.
    pub fn with_name(&self, name: &str) -> Self {
        let name: Arc<str> = name.into();
        let subscription = self.subscription.as_ref();
        let subscription = subscription.map(|subscription| subscription.with_name(Arc::clone(&name)));
        Self { clients: Arc::clone(&self.clients), name, subscription }
    }

    /// Listens for changes by other processes, on a connection of its own that all stores made from this one by
    /// [`with_name`](Self::with_name) share.
    ///
    /// It is opened, in a task, when one of them first waits for a change, such as by
    /// [`SharedSession::follow`](tower_reauth::store::SharedSession::follow), and closed with the last of
    /// them. While it can't be opened, or after it was lost, sessions poll. Opening is retried after 1 s, 1.6
    /// s and so on, up to 60 s.
    ///
    /// It must connect to PostgreSQL directly, or through a pooler that gives each client a connection of its own:
    /// PgBouncer in transaction mode loses notifications.
    pub fn listen<F, Fut, S, T, E>(self, connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(Client, Connection<S, T>), E>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Send + 'static,
    {
        let subscription = Some(Subscription::new(connect, Arc::clone(&self.name)));
        Self { subscription, ..self }
    }

    /// Creates the table `tower_reauth` if it doesn't exist.
    ///
    /// It is created in the first schema of the connection's `search_path`. A migration can do the same:
    ///
    /// ```sql
    /// CREATE TABLE tower_reauth (name text PRIMARY KEY, version text NOT NULL, record bytea NOT NULL);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the statement.
    pub async fn create_table(client: &Client) -> Result<(), Error> {
        // `IF NOT EXISTS` doesn't see a table that another transaction is creating. By the time of the error, that
        // transaction has ended.
        const CREATED_MEANWHILE: [SqlState; 3] =
            [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_OBJECT, SqlState::DUPLICATE_TABLE];
        match client.batch_execute(CREATE_TABLE).await {
            Err(error) if error.code().is_some_and(|code| CREATED_MEANWHILE.contains(code)) => {
                client.batch_execute(CREATE_TABLE).await
            }
            result => result,
        }
    }

    async fn operation(&self) -> Result<Operation, StoreError> {
        match self.name.len() {
            0 => Err(StoreError::unreadable("the record's name is empty")),
            1..=LONGEST_NAME => match (self.clients)().await {
                Ok(client) => Ok(Operation(Some(client))),
                Err(error) => Err(StoreError::unavailable(error)),
            },
            length => Err(StoreError::unreadable(format!(
                "the record's name is {length} bytes long, but at most {LONGEST_NAME} are allowed"
            ))),
        }
    }
}

impl TokenStore for PostgresStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let count = self.subscription.as_ref().map(Subscription::count);
        let row = self.operation().await?.query(LOAD, &[(&&*self.name, Type::TEXT)]).await;
        let row = row.map_err(store_error)?;
        let loaded = row.map(|row| {
            let version = Version::new(row.try_get::<_, &str>(0)?);
            let loaded = Loaded::new(Record::from_bytes(row.try_get::<_, &[u8]>(1)?), version);
            Ok(loaded.at(row.try_get::<_, SystemTime>(2)?))
        });
        let loaded = loaded.transpose().map_err(store_error)?;
        if let (Some(subscription), Some(count)) = (&self.subscription, count) {
            subscription.loaded(count);
        }
        Ok(loaded)
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let next = Version::random();
        let (name, version, record) = (&*self.name, next.as_str(), record.as_bytes());
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&name, Type::TEXT), (&version, Type::TEXT), (&record, Type::BYTEA)];
        let expected = expected.map(Version::as_str);
        let statement = match &expected {
            None => FIRST_SWAP,
            Some(expected) => {
                parameters.push((expected, Type::TEXT));
                SWAP
            }
        };
        match self.operation().await?.query(statement, &parameters).await {
            Ok(Some(_)) => Ok(Swap::Written(next)),
            Ok(None) => Ok(Swap::Conflict),
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => Ok(Swap::Conflict),
            Err(error) => Err(store_error(error)),
        }
    }

    async fn changed(&self) {
        match &self.subscription {
            Some(subscription) => subscription.changed().await,
            None => pending().await,
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Without the error's detail, which can contain the row.
fn store_error(error: Error) -> StoreError {
    match error.as_db_error() {
        Some(db) if *db.code() == SqlState::UNDEFINED_TABLE => StoreError::unavailable(
            "the table `tower_reauth` is missing, or not in the connection's `search_path`; \
             `PostgresStore::create_table` creates it",
        ),
        Some(db) => StoreError::unavailable(format!(
            "PostgreSQL reports {}: {} ({})",
            db.severity(),
            db.message(),
            db.code().code()
        )),
        None => StoreError::unavailable(error),
    }
}
