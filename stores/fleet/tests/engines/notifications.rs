//! Notifications, with polls set to an hour. Each row is run on each engine.

use std::time::Duration;

use futures::{FutureExt, future::join_all};
use tokio::time::timeout;
use tower_reauth::store::{Record, Swap, TokenStore};
use tower_reauth_fleet::Proxy;

use crate::sessions::{Endpoint, HANG, HOUR, has, token};

/// `store` is a store that listens through the proxy, `with_name` one of its handles, `other` a handle of another
/// process.
pub(crate) async fn reach_followers<S: TokenStore>(
    proxy: &Proxy,
    store: S,
    with_name: impl Fn(&S) -> S,
    other: S,
) {
    let endpoint = Endpoint::default();
    let writer = endpoint.session(other, HOUR);
    // The listening connection is open.
    timeout(HANG, store.changed()).await.unwrap();
    let followers: Vec<_> = (0..3).map(|_| endpoint.session(with_name(&store), HOUR)).collect();
    let following: Vec<_> = followers.iter().map(|session| tokio::spawn(session.follow())).collect();

    let steps: [(&str, Option<&str>); 4] = [
        ("a sign-in", Some("A-alice-1")),
        ("a new token", Some("A-alice-2")),
        ("another user's sign-in", Some("A-bob-1")),
        ("a sign-out", None),
    ];
    for (step, expected) in steps {
        match step {
            "a sign-in" => writer.sign_in(token("alice", 1)).await.unwrap(),
            "a new token" => drop(writer.session().refresh().await.unwrap()),
            "a sign-out" => drop(writer.sign_out().await.unwrap()),
            _ => writer.sign_in(token("bob", 1)).await.unwrap(),
        }
        join_all(followers.iter().map(|session| has(session, expected))).await;
    }
    assert_eq!(endpoint.presented(), ["R-alice-1"]);
    assert_eq!(proxy.accepted(), 1, "listening connections");

    drop(followers);
    for task in following {
        timeout(HANG, task).await.unwrap().unwrap();
    }
    drop(store);
    timeout(HANG, proxy.connections_closed()).await.expect("the connection is closed with the last handle");
}

pub(crate) async fn are_missed_only_while_cut<S: TokenStore>(
    proxy: &Proxy,
    server: u16,
    store: S,
    with_name: impl Fn(&S) -> S,
    other: S,
) {
    let endpoint = Endpoint::default();
    let writer = endpoint.session(other, HOUR);
    let polling = endpoint.session(with_name(&store), Duration::from_millis(20));
    let notified = endpoint.session(with_name(&store), HOUR);
    timeout(HANG, store.changed()).await.unwrap();
    tokio::spawn(polling.follow());
    tokio::spawn(notified.follow());
    writer.sign_in(token("alice", 1)).await.unwrap();
    has(&notified, Some("A-alice-1")).await;

    proxy.cut(None);
    timeout(HANG, proxy.connections_closed()).await.unwrap();
    writer.session().refresh().await.unwrap();
    has(&polling, Some("A-alice-2")).await;

    proxy.cut(Some(server));
    // By the look that follows each new connection.
    has(&notified, Some("A-alice-2")).await;
    for number in 3..6 {
        writer.session().refresh().await.unwrap();
        has(&notified, Some(&format!("A-alice-{number}"))).await;
    }
}

/// A handle that loads before a change and listens after it.
pub(crate) async fn count_from_the_last_load<S: TokenStore>(store: S, with_name: impl Fn(&S) -> S, other: S) {
    let late = with_name(&store);
    timeout(HANG, store.changed()).await.unwrap();
    store.load().await.unwrap();
    late.load().await.unwrap();
    assert!(late.changed().now_or_never().is_none(), "nothing has changed");
    write(&other).await;
    timeout(HANG, store.changed()).await.unwrap();
    // Its own notification has passed as well.
    assert!(late.changed().now_or_never().is_some(), "a change before `changed` was missed");
    late.load().await.unwrap();
    assert!(late.changed().now_or_never().is_none(), "the last load has seen the change");
}

/// `stores` are of different names.
pub(crate) async fn wake_nobody_else<S: TokenStore>(stores: Vec<S>) {
    timeout(HANG, join_all(stores.iter().map(TokenStore::changed))).await.unwrap();
    join_all(stores.iter().map(TokenStore::load)).await;
    for written in [0, stores.len() - 1, stores.len() / 2] {
        let mut waiting: Vec<_> = stores.iter().map(|store| Box::pin(store.changed())).collect();
        assert!(waiting.iter_mut().all(|changed| changed.now_or_never().is_none()), "nothing has changed");
        write(&stores[written]).await;
        timeout(HANG, &mut waiting[written]).await.unwrap();
        drop(waiting.remove(written));
        let woken = waiting.iter_mut().filter_map(|changed| changed.now_or_never()).count();
        assert_eq!(woken, 0, "others that were woken");
        stores[written].load().await.unwrap();
    }
}

async fn write(store: &impl TokenStore) {
    let swap = store.swap(None, &Record::from_bytes("content")).await.unwrap();
    assert!(matches!(swap, Swap::Written(_)));
}
