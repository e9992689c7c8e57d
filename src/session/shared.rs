//! What all clones of a session share: the state machine under its lock, and what fast callers read without it.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    event::Event,
    refresh::AnyRefresher,
    rt::Spawner,
    rt::{Clock, Timestamp},
    token::{AccessToken, Token},
};

use super::{
    completion::Gate,
    machine::{State, Status},
    published::{Snapshot, Snapshots},
    reentrancy::is_inside,
};

pub(super) type Hook = Arc<dyn Fn(Token) -> HookFuture + Send + Sync>;
pub(super) type HookFuture = Pin<Box<dyn Future<Output = Result<(), HookFailed>> + Send>>;
pub(super) type EventHook = Arc<dyn Fn(&Event) + Send + Sync>;

/// A hook failed: with its error, unless it panicked or took too long.
pub(super) struct HookFailed(pub(super) Option<Arc<dyn StdError + Send + Sync>>);

/// How long a caller waits, and among how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitLimits {
    pub(crate) patience: Duration,
    /// The patience is what is left of the call's own deadline.
    pub(crate) to_deadline: bool,
    /// A new request's patience after somebody else's rejection.
    pub(crate) after_rejection: Duration,
    pub(crate) max_waiters: Option<usize>,
}

/// What all clones of a session share.
pub(super) struct Core {
    pub(super) name: Option<Arc<str>>,
    pub(super) refresher: AnyRefresher,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawn: Arc<dyn Spawner>,
    pub(super) save_hook: Option<Hook>,
    pub(super) revoke_hook: Option<Hook>,
    pub(super) event_hook: Option<EventHook>,
    pub(super) limits: WaitLimits,
    pub(super) limit: Duration,
    pub(super) save_timeout: Duration,
    pub(super) snapshots: Snapshots,
    pub(super) shell: Mutex<Shell>,
    pub(super) waiters: AtomicUsize,
    pub(super) changed: Notify,
}

pub(super) struct Shell {
    pub(super) state: State,
    /// The gate of the flight that runs; for a moment also that of one which was just abandoned.
    pub(super) gates: Vec<(u64, Gate)>,
    /// Goes up with each change that a watcher is told of.
    pub(super) version: u64,
}

// === impl Core ===

impl Core {
    /// Tells sessions apart.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What can be used at once, without the lock.
    #[inline]
    pub(super) fn fast<T>(&self, now: Timestamp, take: impl FnOnce(&AccessToken) -> T) -> Option<T> {
        self.snapshots.read(|snapshot: &Snapshot| {
            let holds = snapshot.holds(now) && !(snapshot.stale && is_inside(self.id()));
            holds.then(|| take(&snapshot.token))
        })
    }

    pub(super) fn status(&self) -> (Status, u64) {
        let now = self.clock.now();
        let waiters = self.waiters.load(Ordering::Relaxed);
        let mut shell = self.lock();
        (shell.state.status(now, waiters), shell.version)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shell> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("name", &self.name).finish_non_exhaustive()
    }
}
