//! `PostgresStore`.

use std::{
    future::ready,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::join_all;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, Connection, Error, NoTls, Socket, tls::NoTlsStream};
use tower_reauth::store::{Record, StoreError, Swap, TokenStore, check_store};
use tower_reauth_fleet::{
    Proxy,
    postgres::{PgBouncer, PostgresServer},
};
use tower_reauth_postgres::PostgresStore;

use crate::{
    cuts, notifications, outages,
    sessions::{Endpoint, HOUR, access, describe, name, token},
};

type Connected = Result<(Client, Connection<Socket, NoTlsStream>), Error>;

/// The server that tests share which don't stop it, with the table.
async fn server() -> Option<&'static PostgresServer> {
    static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();
    static TABLE: OnceCell<()> = OnceCell::const_new();
    let server = SERVER.get_or_init(PostgresServer::start).as_ref()?;
    TABLE.get_or_init(|| create_table(server)).await;
    Some(server)
}

async fn create_table(server: &PostgresServer) {
    PostgresStore::create_table(&client(&server.url()).await).await.unwrap();
}

fn connect(
    url: String,
) -> impl Fn() -> futures::future::BoxFuture<'static, Connected> + Send + Sync + 'static {
    move || {
        let url = url.clone();
        Box::pin(async move { tokio_postgres::connect(&url, NoTls).await })
    }
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn store(server: &PostgresServer, name: &str) -> PostgresStore {
    PostgresStore::connect(connect(server.url()), name)
}

fn through(proxy: &Proxy) -> String {
    format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_contract() {
    let Some(server) = server().await else { return };
    let store = store(server, &name()).listen(connect(server.url()));
    check_store(async |name| store.with_name(name)).await;
}

/// Each statement of a client runs on either of the pooler's two connections.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_contract_through_a_pooler() {
    let Some(server) = server().await else { return };
    let Some(pooler) = PgBouncer::start(server.port()) else { return };
    let clients = join_all([&*pooler.url(); 4].map(client)).await;
    let clients: Vec<_> = clients.into_iter().map(Arc::new).collect();
    let uses = AtomicUsize::new(0);
    let pool = move || {
        let client = &clients[uses.fetch_add(1, Ordering::Relaxed) % clients.len()];
        ready(Ok::<_, Error>(Arc::clone(client)))
    };
    let store = PostgresStore::from_fn(pool, &name()).listen(connect(server.url()));
    check_store(async |name| store.with_name(name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_postgres_replaces_a_connection_that_stops_responding() {
    let Some(server) = server().await else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let store = PostgresStore::connect(connect(through(&proxy)), &name());
    outages::replace_a_connection_that_stops_responding(store, &proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_notifications_reach_followers() {
    let Some(server) = server().await else { return };
    let (name, proxy) = (name(), Proxy::start(server.port()).await.unwrap());
    let listening = store(server, &name).listen(connect(through(&proxy)));
    notifications::reach_followers(&proxy, listening, |store| store.with_name(&name), store(server, &name))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_notifications_are_missed_only_while_cut() {
    let Some(server) = server().await else { return };
    let (name, proxy) = (name(), Proxy::start(server.port()).await.unwrap());
    let listening = store(server, &name).listen(connect(through(&proxy)));
    let with_name = |store: &PostgresStore| store.with_name(&name);
    let other = store(server, &name);
    notifications::are_missed_only_while_cut(&proxy, server.port(), listening, with_name, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_notifications_count_from_the_last_load() {
    let Some(server) = server().await else { return };
    let name = name();
    let listening = store(server, &name).listen(connect(server.url()));
    let other = store(server, &name);
    notifications::count_from_the_last_load(listening, |store| store.with_name(&name), other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_notifications_wake_nobody_else() {
    let Some(server) = server().await else { return };
    let name = name();
    let store = store(server, &name).listen(connect(server.url()));
    let stores = (0..1000).map(|number| store.with_name(&format!("{name}-{number}"))).collect();
    notifications::wake_nobody_else(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_names_have_1_to_512_bytes() {
    let Some(server) = server().await else { return };
    let store = store(server, &"ä".repeat(256));
    assert!(store.load().await.unwrap().is_none());
    for name in [String::new(), "x".repeat(513)] {
        let store = store.with_name(&name);
        assert!(store.load().await.unwrap_err().is_unreadable());
        assert!(store.swap(None, &Record::from_bytes("a")).await.unwrap_err().is_unreadable());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_names_create_table() {
    let Some(server) = server().await else { return };
    let client = Arc::new(client(&server.url()).await);
    client.batch_execute("CREATE SCHEMA IF NOT EXISTS empty; SET search_path = empty").await.unwrap();
    let store = PostgresStore::new(Arc::clone(&client), &name());
    let error = store.load().await.unwrap_err();
    assert!(error.is_unavailable() && describe(&error).contains("create_table"), "{}", describe(&error));
    let error = store.swap(None, &Record::from_bytes("a")).await.unwrap_err();
    assert!(error.is_unavailable() && describe(&error).contains("create_table"), "{}", describe(&error));
    // A caller of the session finds it as well.
    let session = Endpoint::default().session(store, HOUR);
    let error = session.session().token().await.unwrap_err();
    assert!(StoreError::find(&error).is_some() && describe(&error).contains("create_table"));

    PostgresStore::create_table(&client).await.unwrap();
    session.load().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_can_be_created_by_many_at_once() {
    let Some(server) = server().await else { return };
    for round in 0..20 {
        let schema = format!("SET search_path = at_once_{round}");
        let clients = join_all([&*server.url(); 16].map(client)).await;
        clients[0].batch_execute(&format!("CREATE SCHEMA at_once_{round}")).await.unwrap();
        join_all(clients.iter().map(|client| client.batch_execute(&schema))).await;
        for created in join_all(clients.iter().map(PostgresStore::create_table)).await {
            created.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_for_postgres_is_reported() {
    let Some(server) = server().await else { return };
    let _ = client(&server.url()).await.batch_execute("CREATE USER guarded PASSWORD 'right'").await;
    let url = format!("postgres://guarded:wrong@127.0.0.1:{}/postgres", server.port());
    let store = PostgresStore::connect(connect(url), &name());
    let error = store.load().await.unwrap_err();
    assert!(error.is_unavailable());
    assert!(describe(&error).contains("password authentication failed"), "{}", describe(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_and_the_grant_of_the_docs_are_enough() {
    let Some(server) = server().await else { return };
    let admin = client(&server.url()).await;
    let (_, sql) = include_str!("../../../postgres/README.md").split_once("```sql\n").unwrap();
    let (sql, _) = sql.split_once("```").unwrap();
    let schema = "CREATE USER robots; CREATE SCHEMA robots AUTHORIZATION robots; SET search_path = robots;";
    admin.batch_execute(&format!("{schema} {sql}")).await.unwrap();

    let url = format!("postgres://robots@127.0.0.1:{}/postgres", server.port());
    let (name, endpoint) = (name(), Endpoint::default());
    let store = || PostgresStore::connect(connect(url.clone()), &name);
    let session = endpoint.session(store(), HOUR);
    session.sign_in(token("alice", 1)).await.unwrap();
    let other = endpoint.session(store(), HOUR);
    other.load().await.unwrap();
    other.session().refresh().await.unwrap();
    session.load().await.unwrap();
    assert_eq!(access(&session).as_deref(), Some("A-alice-2"));
}

/// PostgreSQL's own message about it has the whole row.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_postgres_have_no_record() {
    let Some(server) = server().await else { return };
    let client = client(&server.url()).await;
    let table = "CREATE SCHEMA strict; SET search_path = strict; CREATE TABLE tower_reauth \
         (name text PRIMARY KEY, version text NOT NULL, record bytea NOT NULL CHECK (length(record) < 3))";
    client.batch_execute(table).await.unwrap();
    let store = PostgresStore::new(client, &name());
    let error = store.swap(None, &Record::from_bytes("secret")).await.unwrap_err();
    assert!(error.is_unavailable());
    let text = format!("{} {error:?}", describe(&error));
    assert!(text.contains("check constraint"), "{text}");
    // "secret" in hexadecimal.
    assert!(!text.contains("secret") && !text.contains("736563726574"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_is_a_conflict() {
    let Some(server) = server().await else { return };
    let name = name();
    let client = Arc::new(client(&server.url()).await);
    let in_transaction = PostgresStore::new(Arc::clone(&client), &name);
    let Swap::Written(version) = in_transaction.swap(None, &Record::from_bytes("a")).await.unwrap() else {
        panic!("it conflicted")
    };
    // The transaction sees the record of before the other's write.
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    in_transaction.load().await.unwrap();
    store(server, &name).swap(Some(&version), &Record::from_bytes("b")).await.unwrap();
    let swap = in_transaction.swap(Some(&version), &Record::from_bytes("c")).await;
    assert!(matches!(swap, Ok(Swap::Conflict)), "{swap:?}");
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_postgres_leaves_a_valid_token_in_use() {
    let Some(mut server) = PostgresServer::start() else { return };
    create_table(&server).await;
    let store = store(&server, &name());
    outages::leave_a_valid_token_in_use(store, |is_running| match is_running {
        true => server.start_again(),
        false => server.stop(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c16_a_response_that_postgres_cannot_save_is_used_and_saved_later() {
    let Some(server) = server().await else { return };
    let proxy = Arc::new(Proxy::start(server.port()).await.unwrap());
    let url = through(&proxy);
    let open = async |name: &str| PostgresStore::connect(connect(url.clone()), name);
    cuts::a_response_that_cannot_be_saved_is_used_and_saved_later(proxy, server.port(), open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_lost_response_to_a_swap_in_postgres_causes_no_repeated_exchange() {
    let Some(server) = server().await else { return };
    let proxy = Arc::new(Proxy::start(server.port()).await.unwrap());
    let url = through(&proxy);
    let open = async |name: &str| PostgresStore::connect(connect(url.clone()), name);
    cuts::a_lost_response_to_a_swap_causes_no_repeated_exchange(proxy, open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_loses_no_write_in_a_crash() {
    let Some(mut server) = PostgresServer::start() else { return };
    create_table(&server).await;
    let store = store(&server, &name());
    outages::lose_no_write(store, |is_running| match is_running {
        true => server.start_again(),
        false => server.stop(),
    })
    .await;
}
