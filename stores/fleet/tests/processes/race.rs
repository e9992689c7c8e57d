//! Many processes find the token expired at once.

use tower_reauth::testing::Issuer;
use tower_reauth_fleet::{Counts, Fleet, Settings, StoreKind, TokenServer, postgres::PgBouncer};

use crate::{
    setup::{Server, Setup, this_program, with_callers},
    stores::{Record, Store, on_each_store},
};

on_each_store! {
    p19_each_expiry_is_one_exchange;
    p19_c23_two_processes_at_once_present_a_token_once;
}

async fn p19_each_expiry_is_one_exchange(store: Store) {
    let Some(setup) = Setup::start(store, Server::Strict, with_callers(50), 20).await else { return };
    race(setup, 200).await;
}

async fn race(mut setup: Setup, expiries: usize) {
    let first = setup.fleet.call().await;
    assert_eq!(first.failed, 0, "{first:?}");
    let calls = first.ok;
    for expiry in 1..=expiries {
        let outcome = setup.fleet.call_after_expiry().await;
        assert_eq!((outcome.ok, outcome.failed), (calls, 0), "expiry {expiry}: {outcome:?}");
        let counts = setup.fleet.server.counts();
        let once = Counts {
            presentations: expiry,
            at_once: 1,
            refreshes: expiry,
            reuses: 0,
            refusals: 0,
            revocations: 0,
        };
        assert_eq!(counts, once);
    }
    assert!(setup.fleet.server.issuer.family_is_alive());
}

/// Each statement of a process runs on either of the pooler's two connections. LISTEN needs one of its own.
#[tokio::test(flavor = "multi_thread")]
async fn p19_each_expiry_is_one_exchange_through_a_pooler() {
    let Some(record) = Record::new(Store::Postgres).await else { return };
    let Some(pooler) = PgBouncer::start(record.port().await) else { return };
    let store = StoreKind::Postgres(Some(pooler.url()));
    let settings = Settings { store, only_polls: true, ..with_callers(10) };
    let server = TokenServer::start(Issuer::builder()).await.unwrap();
    race(Setup::with_record(Store::Postgres, record, server, settings, 20).await, 50).await;
}

/// The user of the README may do all that is needed.
#[tokio::test(flavor = "multi_thread")]
async fn p19_each_expiry_is_one_exchange_as_the_user_of_the_docs() {
    let Some(record) = Record::new(Store::Redis).await else { return };
    let readme = include_str!("../../../redis/README.md");
    let rules = readme.lines().find_map(|line| line.strip_prefix("ACL SETUSER ")).unwrap();
    let port = record.port().await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(rules.split(' ').collect::<Vec<_>>());
    let () = command.query_async(&mut connection).await.unwrap();
    let store = StoreKind::Redis(Some(format!("redis://robots:password@127.0.0.1:{port}/")));
    let settings = Settings { store, ..with_callers(10) };
    let server = TokenServer::start(Issuer::builder()).await.unwrap();
    race(Setup::with_record(Store::Redis, record, server, settings, 20).await, 50).await;
}

async fn p19_c23_two_processes_at_once_present_a_token_once(store: Store) {
    let Some(mut setup) = Setup::start(store, Server::Strict, with_callers(1), 2).await else { return };
    for expiry in 1..=200 {
        let outcome = setup.fleet.call_after_expiry().await;
        assert_eq!((outcome.ok, outcome.failed), (2, 0), "expiry {expiry}: {outcome:?}");
        let counts = setup.fleet.server.counts();
        assert_eq!((counts.presentations, counts.at_once, counts.refusals), (expiry, 1, 0));
    }
    assert!(setup.fleet.server.issuer.family_is_alive());
}

/// Otherwise the tests above would show nothing.
#[tokio::test(flavor = "multi_thread")]
async fn p19_without_a_store_the_grant_is_lost() {
    let server = TokenServer::start(Issuer::builder()).await.unwrap();
    let alone = Settings { callers: 10, ..Settings::default() };
    let (mut fleet, _) = Fleet::start(this_program(), server, alone, 20).await.unwrap();
    fleet.server.gather_presentations(20);
    let outcome = fleet.call_after_expiry().await;
    assert_eq!((outcome.ok, outcome.failed), (0, 200), "{outcome:?}");
    let counts = fleet.server.counts();
    assert_eq!((counts.refreshes, counts.at_once), (1, 20));
    assert!(counts.refusals >= 19, "{counts:?}");
    assert!(!fleet.server.issuer.family_is_alive());
}
