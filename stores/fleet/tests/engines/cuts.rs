//! Connections that are cut at a bad moment. Each row is run on each engine.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::time::{sleep, timeout};
use tower_reauth::store::{Loaded, Record, SharedStore, StoreError, Swap, TokenStore, Version};
use tower_reauth_fleet::Proxy;

use crate::{
    outages,
    sessions::{Endpoint, HANG, HOUR, SOON, access, describe, has, token},
};

/// The connections are cut after the claim: the response can't be saved. The other session is cut off as well.
pub(crate) async fn a_response_that_cannot_be_saved_is_used_and_saved_later<S: TokenStore>(
    proxy: Arc<Proxy>,
    port: u16,
    open: impl AsyncFn(&str) -> S,
) {
    for by_shutdown in [false, true] {
        let (name, endpoint) = (crate::sessions::name(), Endpoint::default());
        let one = endpoint.session(open(&name).await, HOUR);
        let two = endpoint.session(open(&name).await, SOON);
        one.sign_in(token("alice", 1)).await.unwrap();
        two.load().await.unwrap();
        endpoint.at_next_exchange({
            let proxy = Arc::clone(&proxy);
            move || proxy.cut(None)
        });

        timeout(HANG, one.session().refresh()).await.unwrap().unwrap();
        assert!(one.session().status().is_unsaved());
        assert_eq!(one.session().token().await.unwrap().secret(), "A-alice-2");
        for _ in 0..2 {
            let error = two.session().refresh().await.unwrap_err();
            assert!(error.is_transient(), "{}", describe(&error));
            assert!(StoreError::find(&error).unwrap().is_unavailable(), "{}", describe(&error));
            two.session().reset_backoff();
        }
        assert_eq!(endpoint.presented(), ["R-alice-1"]);

        if by_shutdown {
            assert!(one.session().shutdown(HANG).await.unwrap_err().is_unsaved());
            proxy.forward_to(port);
            // The first command may fail, as its connection was cut.
            while let Err(error) = one.session().shutdown(HANG).await {
                assert!(error.is_unsaved(), "{}", describe(&error));
                sleep(SOON).await;
            }
            while two.load().await.is_err() {
                sleep(SOON).await;
            }
            assert_eq!(access(&two).as_deref(), Some("A-alice-2"));
        } else {
            // Nobody waits for it.
            proxy.forward_to(port);
            let following = tokio::spawn(two.follow());
            has(&two, Some("A-alice-2")).await;
            following.abort();
            // It is in the middle of its look.
            let _ = following.await;
            one.session().idle().await;
        }
        assert!(!one.session().status().is_unsaved(), "{by_shutdown}");
        outages::refresh(&two).await;
        assert_eq!(access(&two).as_deref(), Some("A-alice-3"), "{by_shutdown}");
        assert_eq!(endpoint.presented(), ["R-alice-1", "R-alice-2"]);
    }
}

/// A store behind a proxy, which loses the response to one of the swaps.
struct Lossy<S> {
    inner: S,
    proxy: Arc<Proxy>,
    /// How many swaps come before it.
    swaps: Arc<AtomicUsize>,
}

impl<S: TokenStore> TokenStore for Lossy<S> {
    fn load(&self) -> impl Future<Output = Result<Option<Loaded>, StoreError>> + Send {
        self.inner.load()
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        if self.swaps.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.proxy.lose_next_response();
        }
        self.inner.swap(expected, record).await
    }
}

/// A needless repeat would end the session, as these never repeat.
pub(crate) async fn a_lost_response_to_a_swap_causes_no_repeated_exchange<S: TokenStore>(
    proxy: Arc<Proxy>,
    open: impl AsyncFn(&str) -> S,
) {
    // A sign-in, and then a claim and a save for each exchange.
    for lost in 0..7 {
        let (name, endpoint) = (crate::sessions::name(), Endpoint::default());
        let swaps = Arc::new(AtomicUsize::new(lost));
        let session = async || {
            let (proxy, swaps) = (Arc::clone(&proxy), Arc::clone(&swaps));
            let store = Lossy { inner: open(&name).await, proxy, swaps };
            // The first command may be preceded by others.
            store.load().await.unwrap();
            endpoint.session_over(SharedStore::new(store).never_repeat(), HOUR)
        };
        let (one, two) = (session().await, session().await);
        let connections = proxy.accepted();
        one.sign_in(token("alice", 1)).await.unwrap_or_else(|error| panic!("{lost}: {}", describe(&error)));
        for number in 2..=4 {
            let session = if number % 2 == 0 { &one } else { &two };
            session.load().await.unwrap();
            let refreshed = session.session().refresh().await;
            refreshed.unwrap_or_else(|error| panic!("{lost}, {number}: {}", describe(&error)));
            assert_eq!(access(session), Some(format!("A-alice-{number}")), "{lost}");
            assert!(!session.session().status().is_unsaved(), "{lost}, {number}");
        }
        two.load().await.unwrap();
        assert_eq!(access(&two).as_deref(), Some("A-alice-4"), "{lost}");
        assert_eq!(endpoint.presented(), ["R-alice-1", "R-alice-2", "R-alice-3"], "{lost}");
        assert_eq!(proxy.accepted(), connections + 1, "one connection was lost: {lost}");
    }
}
