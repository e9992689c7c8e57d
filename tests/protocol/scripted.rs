//! A store whose record, failures and order of events the test decides, and sessions over it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tower_reauth::{
    RefreshContext, RefreshError, Session, Token, refresh_fn,
    rt::TestClock,
    store::{Loaded, Record, SharedSession, SharedStore, StoreError, Swap, TokenStore, Version},
};

/// What happens at a swap.
type OnSwap = Box<dyn FnOnce(&Scripted, &Record) -> Result<(), StoreError> + Send>;

/// A store whose record the test edits.
#[derive(Clone, Default)]
pub(crate) struct Scripted(Arc<Inner>);

#[derive(Default)]
struct Inner {
    record: Mutex<Option<Vec<u8>>>,
    is_down: AtomicBool,
    /// So many more loads succeed.
    loads_left: Mutex<Option<usize>>,
    /// Swaps never end.
    hangs: AtomicBool,
    on_swap: Mutex<VecDeque<OnSwap>>,
}

// === impl Scripted ===

impl Scripted {
    pub(crate) fn new(document: &Value) -> Self {
        let store = Self::default();
        store.write(document);
        store
    }

    pub(crate) fn write(&self, document: &Value) {
        *self.0.record.lock().unwrap() = Some(document.to_string().into_bytes());
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_slice(self.0.record.lock().unwrap().as_ref().unwrap()).unwrap()
    }

    pub(crate) fn delete(&self) {
        *self.0.record.lock().unwrap() = None;
    }

    /// Another process writes.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut document = self.document();
        edit(&mut document);
        self.write(&document);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn is_down(&self) -> bool {
        self.0.is_down.load(Ordering::SeqCst)
    }

    /// The store goes down after so many more loads.
    pub(crate) fn set_down_after_loads(&self, loads: usize) {
        *self.0.loads_left.lock().unwrap() = Some(loads);
    }

    pub(crate) fn set_hanging(&self, hangs: bool) {
        self.0.hangs.store(hangs, Ordering::SeqCst);
    }

    pub(crate) fn is_hanging(&self) -> bool {
        self.0.hangs.load(Ordering::SeqCst)
    }

    /// Writes, and loses the response.
    pub(crate) fn lose_response(&self, record: &Record) -> Result<(), StoreError> {
        *self.0.record.lock().unwrap() = Some(record.as_bytes().to_vec());
        Err(StoreError::unavailable("the response is lost"))
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.is_down() {
            true => Err(StoreError::unavailable("down")),
            false => Ok(()),
        }
    }

    /// What happens at the next swap, instead of an ordinary one.
    pub(crate) fn at_next_swap(
        &self,
        event: impl FnOnce(&Self, &Record) -> Result<(), StoreError> + Send + 'static,
    ) {
        self.0.on_swap.lock().unwrap().push_back(Box::new(event));
    }
}

impl TokenStore for Scripted {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        if let Some(left) = &mut *self.0.loads_left.lock().unwrap() {
            self.set_down(*left == 0);
            *left = left.saturating_sub(1);
        }
        self.check()?;
        let record = self.0.record.lock().unwrap().clone().map(Record::from_bytes);
        Ok(record.map(|record| {
            let version = Version::of(&record);
            Loaded::new(record, version)
        }))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        self.check()?;
        if self.is_hanging() {
            std::future::pending::<()>().await;
        }
        let event = self.0.on_swap.lock().unwrap().pop_front();
        if let Some(event) = event {
            event(self, record)?;
        }
        let mut current = self.0.record.lock().unwrap();
        let version = current.clone().map(|bytes| Version::of(&Record::from_bytes(bytes)));
        if version.as_ref() != expected {
            return Ok(Swap::Conflict);
        }
        *current = Some(record.as_bytes().to_vec());
        Ok(Swap::Written(Version::of(record)))
    }
}

/// A record whose token was obtained long ago.
pub(crate) fn record(access: &str, refresh: &str, by: u64, claims: u64) -> Value {
    json!({
        "v": 1, "w": "w", "epoch": 7, "was": [], "by": by, "claims": claims,
        "token": {"access": access, "scheme": "Bearer", "refresh": refresh, "received_at": 0},
    })
}

pub(crate) fn token(access: &str, refresh: &str) -> Result<Token, RefreshError> {
    Ok(Token::builder(access).refresh_token(refresh).build()?)
}

/// A session whose refresher does this, and the refresh tokens that it was called with.
pub(crate) fn shared(
    store: &Scripted,
    exchange: impl Fn(&Scripted, &RefreshContext) -> Result<Token, RefreshError> + Send + Sync + 'static,
) -> (SharedSession, Arc<Mutex<Vec<String>>>) {
    shared_over(store, SharedStore::new(store.clone()), exchange)
}

pub(crate) fn shared_over(
    store: &Scripted,
    over: SharedStore<Scripted>,
    exchange: impl Fn(&Scripted, &RefreshContext) -> Result<Token, RefreshError> + Send + Sync + 'static,
) -> (SharedSession, Arc<Mutex<Vec<String>>>) {
    let presented = Arc::new(Mutex::new(Vec::new()));
    let (calls, others) = (Arc::clone(&presented), store.clone());
    let refresher = refresh_fn(move |cx: RefreshContext| {
        calls.lock().unwrap().push(cx.refresh_token().unwrap_or("none").to_owned());
        let result = exchange(&others, &cx);
        async move { result }
    });
    let clock = TestClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    (Session::builder(refresher).clock(clock).jitter(false).build_shared(over), presented)
}

/// Takes the record's token, has it rejected, and returns what comes then.
pub(crate) async fn after_rejection(shared: &SharedSession) -> String {
    let token = shared.session().token().await.unwrap();
    shared.session().token_after_rejection(&token).await.unwrap().secret().to_owned()
}
