//! A write that takes effect after its outcome was looked up.

use std::sync::{Arc, Mutex};

use tower_reauth::{
    Session, Token,
    refresh::RefreshReason,
    refresh_fn,
    store::{Loaded, MemoryStore, Record, StoreError, Swap, TokenStore, Version},
};

/// The first swap of a claim fails, and takes effect after the next load.
struct Late {
    store: MemoryStore,
    pending: Mutex<Option<(Option<Version>, Record)>>,
    is_used: Mutex<bool>,
}

impl TokenStore for Late {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let loaded = self.store.load().await;
        let pending = self.pending.lock().unwrap().take();
        if let Some((expected, record)) = pending {
            assert!(matches!(self.store.swap(expected.as_ref(), &record).await, Ok(Swap::Written(_))));
        }
        loaded
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let has_claim = record.as_bytes().windows(7).any(|window| window == b"\"claim\"");
        if has_claim && !std::mem::replace(&mut *self.is_used.lock().unwrap(), true) {
            *self.pending.lock().unwrap() = Some((expected.cloned(), record.clone()));
            return Err(StoreError::unavailable("no response"));
        }
        self.store.swap(expected, record).await
    }
}

#[tokio::test(start_paused = true)]
async fn p19_own_claim_that_is_written_late_is_used() {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let refresher = refresh_fn({
        let reasons = Arc::clone(&reasons);
        move |cx| {
            reasons.lock().unwrap().push(cx.reason());
            async { Ok(Token::builder("A2").refresh_token("R2").build()?) }
        }
    });
    let store = Late { store: MemoryStore::new(), pending: Mutex::default(), is_used: Mutex::default() };
    let session = Session::builder(refresher).build_shared(store);
    session.sign_in(Token::builder("A1").refresh_token("R1").build().unwrap()).await.unwrap();
    let before = tokio::time::Instant::now();
    session.session().refresh().await.unwrap();
    assert_eq!(*reasons.lock().unwrap(), [RefreshReason::Requested], "after {:?}", before.elapsed());
}
