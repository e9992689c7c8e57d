//! The stores that the rows run on, and their records.

use std::{fs, io::ErrorKind, path::PathBuf, sync::OnceLock};

use redis::{aio::MultiplexedConnection, cmd};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};
use tower_reauth_fleet::{StoreKind, postgres::PostgresServer, redis::RedisServer};
use tower_reauth_postgres::PostgresStore;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    File,
    Redis,
    Postgres,
}

/// A record of one test, which it can read and delete itself.
pub(crate) enum Record {
    File(TempDir),
    Redis { name: String, connection: MultiplexedConnection },
    Postgres { name: String, client: Client },
}

/// Runs tests on each store.
macro_rules! on_each_store {
    ($($name:ident;)+) => {
        $(
            mod $name {
                use crate::stores::Store;

                #[tokio::test(flavor = "multi_thread")]
                async fn file() {
                    super::$name(Store::File).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn redis() {
                    super::$name(Store::Redis).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn postgres() {
                    super::$name(Store::Postgres).await;
                }
            }
        )+
    };
}
pub(crate) use on_each_store;

/// All tests share it. It ends with this process.
pub(crate) fn redis() -> Option<&'static RedisServer> {
    static SERVER: OnceLock<Option<RedisServer>> = OnceLock::new();
    SERVER.get_or_init(|| RedisServer::start(&[])).as_ref()
}

/// The same, with the table.
pub(crate) async fn postgres() -> Option<&'static PostgresServer> {
    static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();
    static TABLE: OnceCell<()> = OnceCell::const_new();
    let server = SERVER.get_or_init(PostgresServer::start).as_ref()?;
    let create = async || PostgresStore::create_table(&client(&server.url()).await).await.unwrap();
    TABLE.get_or_init(create).await;
    Some(server)
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

// === impl Record ===

impl Record {
    /// `None`: the store's server isn't installed.
    pub(crate) async fn new(store: Store) -> Option<Self> {
        let name = format!("test-{:016x}", fastrand::u64(..));
        Some(match store {
            Store::File => Self::File(TempDir::new().unwrap()),
            Store::Redis => {
                let client = redis::Client::open(redis()?.url()).unwrap();
                Self::Redis { name, connection: client.get_multiplexed_async_connection().await.unwrap() }
            }
            Store::Postgres => Self::Postgres { name, client: client(&postgres().await?.url()).await },
        })
    }

    /// The store, for the settings of a process.
    pub(crate) async fn store(&self) -> StoreKind {
        match self {
            Self::File(_) => StoreKind::File(Some(self.file())),
            _ => self.store_at(self.port().await),
        }
    }

    /// The port of its server.
    pub(crate) async fn port(&self) -> u16 {
        let port = match self {
            Self::File(_) => None,
            Self::Redis { .. } => redis().map(RedisServer::port),
            Self::Postgres { .. } => postgres().await.map(PostgresServer::port),
        };
        port.expect("it has a server")
    }

    /// Its server through another port.
    pub(crate) fn store_at(&self, port: u16) -> StoreKind {
        match self {
            Self::File(_) => panic!("it has no server"),
            Self::Redis { .. } => StoreKind::Redis(Some(format!("redis://127.0.0.1:{port}/"))),
            Self::Postgres { .. } => {
                StoreKind::Postgres(Some(format!("postgres://postgres@127.0.0.1:{port}/postgres")))
            }
        }
    }

    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Redis { name, .. } | Self::Postgres { name, .. } => Some(name.clone()),
        }
    }

    fn file(&self) -> PathBuf {
        let Self::File(folder) = self else { panic!("it isn't a file") };
        folder.path().join("credentials.json")
    }

    /// Its bytes. `None`: there is no record.
    pub(crate) async fn read(&self) -> Option<Vec<u8>> {
        match self {
            Self::File(_) => match fs::read(self.file()) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                bytes => Some(bytes.unwrap()),
            },
            Self::Redis { name, connection } => {
                let mut command = cmd("HGET");
                command.arg(key(name)).arg("d");
                command.query_async(&mut connection.clone()).await.unwrap()
            }
            Self::Postgres { name, client } => {
                let sql = "SELECT record FROM tower_reauth WHERE name = $1";
                client.query_opt(sql, &[name]).await.unwrap().map(|row| row.get(0))
            }
        }
    }

    pub(crate) async fn delete(&self) {
        match self {
            Self::File(_) => fs::remove_file(self.file()).unwrap(),
            Self::Redis { name, connection } => {
                let () = cmd("DEL").arg(key(name)).query_async(&mut connection.clone()).await.unwrap();
            }
            Self::Postgres { name, client } => {
                client.execute("DELETE FROM tower_reauth WHERE name = $1", &[name]).await.unwrap();
            }
        }
    }
}

fn key(name: &str) -> String {
    format!("tower-reauth:{name}")
}
