//! A store whose record, clock, hold and outages the test controls, and sessions over it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use tower_reauth::{
    AccessToken, Error, Session, SessionBuilder,
    refresh::RefreshReason,
    rt::{Clock, TestClock},
    store::{Hold, Loaded, Record, SharedSession, SharedStore, StoreError, Swap, TokenStore, Version},
};

use crate::support::{Endpoint, endpoint};

/// Reports no changes. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct ScriptedStore(Arc<Inner>);

#[derive(Default)]
struct Inner {
    record: Mutex<Option<Vec<u8>>>,
    is_down: AtomicBool,
    loads: Mutex<Vec<Instant>>,
    swaps: AtomicUsize,
    /// The next swap takes this long.
    swap_delay: Mutex<Option<Duration>>,
    loses_swaps: AtomicBool,
    loses_response: AtomicBool,
    clock: Mutex<Option<TestClock>>,
    has_hold: AtomicBool,
    /// The next one who asks for the hold waits for this.
    hold_gate: Mutex<Option<oneshot::Receiver<()>>>,
    holder: Mutex<Option<String>>,
}

/// Releases the hold.
struct Guard(Arc<Inner>);

/// What `support::clock` reads first, in milliseconds.
pub(crate) const NOW: i64 = 1_000_000_000;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

// === impl ScriptedStore ===

impl ScriptedStore {
    pub(crate) fn new(document: &Value) -> Self {
        let store = Self::default();
        store.write(document.to_string());
        store
    }

    /// Its loads report the time of this clock.
    pub(crate) fn with_clock(self, clock: &TestClock) -> Self {
        *self.0.clock.lock().unwrap() = Some(clock.clone());
        self
    }

    /// It has a hold.
    pub(crate) fn with_hold(self) -> Self {
        self.0.has_hold.store(true, Ordering::SeqCst);
        self
    }

    /// The next one who asks for the hold waits until the sender is used or dropped.
    pub(crate) fn delay_hold(&self) -> oneshot::Sender<()> {
        let (open, gate) = oneshot::channel();
        *self.0.hold_gate.lock().unwrap() = Some(gate);
        open
    }

    /// Another process has the hold, or nobody.
    pub(crate) fn set_holder(&self, holder: Option<&str>) {
        *self.0.holder.lock().unwrap() = holder.map(str::to_owned);
    }

    pub(crate) fn holder(&self) -> Option<String> {
        self.0.holder.lock().unwrap().clone()
    }

    pub(crate) fn write(&self, bytes: impl Into<Vec<u8>>) {
        *self.0.record.lock().unwrap() = Some(bytes.into());
    }

    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        self.0.record.lock().unwrap().clone()
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_slice(&self.bytes().expect("a record")).expect("JSON")
    }

    /// Another process writes.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut document = self.document();
        edit(&mut document);
        self.write(document.to_string());
    }

    pub(crate) fn delete(&self) {
        *self.0.record.lock().unwrap() = None;
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How often a session tried to write.
    pub(crate) fn swap_count(&self) -> usize {
        self.0.swaps.load(Ordering::SeqCst)
    }

    /// The next write takes this long.
    pub(crate) fn delay_swap(&self, delay: Duration) {
        *self.0.swap_delay.lock().unwrap() = Some(delay);
    }

    /// From now on, no write takes effect, and none has a response.
    pub(crate) fn lose_swaps(&self) {
        self.0.loses_swaps.store(true, Ordering::SeqCst);
    }

    /// The next write takes effect, and has no response.
    pub(crate) fn lose_response(&self) {
        self.0.loses_response.store(true, Ordering::SeqCst);
    }

    /// When a session read.
    pub(crate) fn loads(&self) -> Vec<Instant> {
        self.0.loads.lock().unwrap().clone()
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.0.is_down.load(Ordering::SeqCst) {
            true => Err(StoreError::unavailable("down")),
            false => Ok(()),
        }
    }
}

impl TokenStore for ScriptedStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        self.0.loads.lock().unwrap().push(Instant::now());
        self.check()?;
        let Some(bytes) = self.bytes() else { return Ok(None) };
        let record = Record::from_bytes(bytes);
        let version = Version::of(&record);
        let loaded = Loaded::new(record, version);
        let clock = self.0.clock.lock().unwrap();
        Ok(Some(match &*clock {
            Some(clock) => loaded.at(clock.now().wall()),
            None => loaded,
        }))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        self.0.swaps.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        let delay = self.0.swap_delay.lock().unwrap().take();
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        if self.0.loses_swaps.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("no response"));
        }
        let mut current = self.0.record.lock().unwrap();
        let version = current.clone().map(|bytes| Version::of(&Record::from_bytes(bytes)));
        if version.as_ref() != expected {
            return Ok(Swap::Conflict);
        }
        *current = Some(record.as_bytes().to_vec());
        match self.0.loses_response.swap(false, Ordering::SeqCst) {
            true => Err(StoreError::unavailable("no response")),
            false => Ok(Swap::Written(Version::of(record))),
        }
    }

    async fn try_hold(&self) -> Result<Hold, StoreError> {
        self.check()?;
        if !self.0.has_hold.load(Ordering::SeqCst) {
            return Ok(Hold::none());
        }
        let gate = self.0.hold_gate.lock().unwrap().take();
        if let Some(gate) = gate {
            let _ = gate.await;
        }
        let mut holder = self.0.holder.lock().unwrap();
        if let Some(holder) = &*holder {
            return Ok(Hold::busy(holder));
        }
        *holder = Some("a session of this test".to_owned());
        Ok(Hold::new(Guard(Arc::clone(&self.0))))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        *self.0.holder.lock().unwrap() = None;
    }
}

/// A builder, and the other side of its refresher.
pub(crate) fn builder(clock: &TestClock) -> (SessionBuilder, Endpoint) {
    let (refresher, endpoint) = endpoint();
    (Session::builder(refresher).jitter(false).clock(clock.clone()), endpoint)
}

/// A session over a store, and the other side of its refresher.
pub(crate) fn open<S: TokenStore>(
    clock: &TestClock,
    store: impl Into<SharedStore<S>>,
) -> (SharedSession, Endpoint) {
    let (builder, endpoint) = builder(clock);
    (builder.build_shared(store), endpoint)
}

/// What the session would send at once.
pub(crate) fn held(shared: &SharedSession) -> Option<String> {
    shared.session().try_token().map(|token| token.secret().to_owned())
}

/// Refreshes, with this response.
pub(crate) async fn refreshed(shared: &SharedSession, endpoint: &mut Endpoint, spec: &str) {
    shared.load().await.unwrap();
    let respond = async { endpoint.next_call().await.succeed(spec) };
    let (token, ()) = tokio::join!(shared.session().refresh(), respond);
    token.unwrap();
}

/// A record with a token that expires so many seconds after `NOW`.
pub(crate) fn record(access: &str, refresh: &str, expires_in: i64) -> Value {
    json!({
        "v": 1, "w": "w", "epoch": 7, "was": [], "by": 1000, "claims": 1000,
        "token": {
            "access": access, "scheme": "Bearer", "refresh": refresh,
            "received_at": NOW, "expires_at": NOW + 1000 * expires_in,
        },
    })
}

/// The same, with a claim of another process that was written at `NOW`.
pub(crate) fn claimed(access: &str, refresh: &str, expires_in: i64) -> Value {
    let mut document = record(access, refresh, expires_in);
    document["claims"] = json!(2000);
    document["claim"] = json!({"n": 2000, "id": "other", "for": 10_000, "at": NOW, "who": "other, pid 7"});
    document
}

/// How long another's claim keeps a session from presenting. Waits that end before that are begun again.
pub(crate) async fn lapse(shared: &SharedSession, endpoint: &mut Endpoint) -> Duration {
    let start = Instant::now();
    loop {
        tokio::select! {
            biased;
            call = endpoint.next_call() => {
                assert_eq!(call.cx.reason(), RefreshReason::Repeated);
                call.succeed("A2 R2 600");
                return start.elapsed();
            }
            result = shared.session().refresh() => {
                let error = result.unwrap_err();
                let of_store = StoreError::find(&error).expect("an error of the store");
                assert!(of_store.is_busy() || of_store.is_unavailable(), "{error:?}");
                if of_store.is_unavailable() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                shared.session().reset_backoff();
            }
        }
    }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
pub(crate) fn assert_about(elapsed: Duration, expected: Duration) {
    assert!(elapsed >= expected && elapsed < expected + Duration::from_millis(100), "{elapsed:?}");
}

pub(crate) async fn secret(task: JoinHandle<Result<AccessToken, Error>>) -> String {
    task.await.unwrap().unwrap().secret().to_owned()
}

pub(crate) fn busy_holder(error: &Error) -> Option<&str> {
    assert!(error.is_transient() && error.is_retryable(), "{error:?}");
    let error = StoreError::find(error).expect("an error of the store");
    assert!(error.is_busy(), "{error:?}");
    error.holder()
}
