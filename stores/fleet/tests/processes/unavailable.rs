//! The store can't be reached for a while.

use std::time::Duration;

use tokio::time::sleep;
use tower_reauth::testing::Issuer;
use tower_reauth_fleet::{FailureKind, Proxy, Settings, TokenServer};

use crate::{
    setup::{Setup, with_callers},
    stores::{Record, Store},
};

/// Waits before something that can't be awaited is looked at again.
const SOON: Duration = Duration::from_millis(20);

async fn valid_tokens_stay_in_use_while_the_store_is_unavailable(store: Store) {
    let Some(record) = Record::new(store).await else { return };
    let port = record.port().await;
    let proxy = Proxy::start(port).await.unwrap();
    let settings = Settings { store: record.store_at(proxy.port()), ..with_callers(3) };
    let server = TokenServer::start(Issuer::builder()).await.unwrap();
    let mut setup = Setup::with_record(store, record, server, settings, 3).await;
    let fleet = &mut setup.fleet;
    assert_eq!(fleet.call().await.ok, 9);

    proxy.cut(None);
    proxy.connections_closed().await;
    let outcome = fleet.call().await;
    assert_eq!((outcome.ok, outcome.failed), (9, 0), "{outcome:?}");
    fleet.server.issuer.expire_access_tokens();
    for _ in 0..3 {
        let outcome = fleet.call().await;
        assert_eq!((outcome.ok, outcome.failed), (0, 9), "{outcome:?}");
        let are_retryable = outcome.failures.iter().all(|failure| failure.kind == FailureKind::Retryable);
        assert!(are_retryable, "{outcome:?}");
    }
    assert_eq!(fleet.server.counts().presentations, 0);

    proxy.forward_to(port);
    loop {
        let outcome = fleet.call().await;
        if outcome.failed == 0 {
            break;
        }
        let are_retryable = outcome.failures.iter().all(|failure| failure.kind == FailureKind::Retryable);
        assert!(are_retryable, "{outcome:?}");
        sleep(SOON).await;
    }
    let counts = fleet.server.counts();
    assert_eq!((counts.presentations, counts.refreshes), (1, 1));
    assert!(fleet.server.issuer.family_is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn c28_valid_tokens_stay_in_use_while_redis_is_unavailable() {
    valid_tokens_stay_in_use_while_the_store_is_unavailable(Store::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c28_valid_tokens_stay_in_use_while_postgres_is_unavailable() {
    valid_tokens_stay_in_use_while_the_store_is_unavailable(Store::Postgres).await;
}
