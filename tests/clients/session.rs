//! Sessions whose first token is A1, and whose next one is A2.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tower_reauth::{RefreshError, Refresher, Session, refresh_fn};

use crate::{client::LONG, support::token};

/// Its second token is valid, and its refreshes are counted.
pub(crate) fn session() -> (Session, Arc<AtomicUsize>) {
    let refreshes = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&refreshes);
    let session = session_with(refresh_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(token("A2 R2 600")) }
    }));
    (session, refreshes)
}

pub(crate) fn session_with(refresher: impl Refresher) -> Session {
    Session::builder(refresher).token(token("A1 R1 600")).build()
}

/// Its token has expired, and its refreshes fail.
pub(crate) fn failing(error: fn() -> RefreshError) -> Session {
    let refresher = refresh_fn(move |_| async move { Err(error()) });
    Session::builder(refresher).token(token("A1 R1 0")).build()
}

/// Waits until so many callers wait for a token.
pub(crate) async fn until_waiting(session: &Session, callers: usize) {
    let start = Instant::now();
    while session.status().waiters() < callers {
        assert!(start.elapsed() < LONG, "only {} callers wait", session.status().waiters());
        tokio::task::yield_now().await;
    }
}

pub(crate) fn without_token() -> Session {
    Session::builder(refresh_fn(|_| async { Err(RefreshError::misconfigured("no token is needed")) })).build()
}
