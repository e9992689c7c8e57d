//! Servers that stop. Each row is run on each engine.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_reauth::store::{Record, SharedSession, StoreError, Swap, TokenStore};
use tower_reauth_fleet::Proxy;

use crate::sessions::{Endpoint, HANG, HOUR, describe, token};

/// `set_running` stops the server, or starts it again.
pub(crate) async fn leave_a_valid_token_in_use(store: impl TokenStore, mut set_running: impl FnMut(bool)) {
    let endpoint = Endpoint::default();
    let session = endpoint.session(store, HOUR);
    session.sign_in(token("alice", 1)).await.unwrap();

    set_running(false);
    let error = session.session().refresh().await.unwrap_err();
    assert!(error.is_transient(), "{}", describe(&error));
    assert!(StoreError::find(&error).unwrap().is_unavailable(), "{}", describe(&error));
    assert_eq!(session.session().token().await.unwrap().secret(), "A-alice-1");
    assert!(endpoint.presented().is_empty());

    set_running(true);
    refresh(&session).await;
    assert_eq!(endpoint.presented(), ["R-alice-1"]);
    assert_eq!(session.session().token().await.unwrap().secret(), "A-alice-2");
}

/// A firewall drops the connection, and neither side notices.
pub(crate) async fn replace_a_connection_that_stops_responding(store: impl TokenStore, proxy: &Proxy) {
    let endpoint = Endpoint::default();
    let session = endpoint.session(store, HOUR);
    session.sign_in(token("alice", 1)).await.unwrap();

    proxy.silence();
    let error = session.session().refresh().await.unwrap_err();
    assert!(StoreError::find(&error).unwrap().is_unavailable(), "{}", describe(&error));
    refresh(&session).await;
    assert_eq!(endpoint.presented(), ["R-alice-1"]);
    assert_eq!(session.session().token().await.unwrap().secret(), "A-alice-2");
}

/// Refreshes until the store can be reached.
pub(crate) async fn refresh(session: &SharedSession) {
    let refresh = async {
        while let Err(error) = session.session().refresh().await {
            assert!(error.is_transient(), "{}", describe(&error));
            session.session().reset_backoff();
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANG, refresh).await.unwrap();
}

/// Writes that a server has confirmed are there after a crash.
pub(crate) async fn lose_no_write(store: impl TokenStore, mut set_running: impl FnMut(bool)) {
    let record = |number: u32| Record::from_bytes(number.to_string());
    let mut version = None;
    for number in 0..20 {
        match store.swap(version.as_ref(), &record(number)).await.unwrap() {
            Swap::Written(next) => version = Some(next),
            _ => panic!("a swap of the current version conflicted"),
        }
        if number % 5 != 4 {
            continue;
        }
        set_running(false);
        set_running(true);
        let load = async {
            loop {
                if let Ok(loaded) = store.load().await {
                    return loaded.unwrap();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let loaded = timeout(HANG, load).await.unwrap();
        assert_eq!(loaded.record().as_bytes(), record(number).as_bytes());
        assert_eq!(Some(loaded.version()), version.as_ref());
    }
}
