//! State shared by all clones: the machine behind its lock, and what is read without it.

use std::{future::Future, pin::Pin, sync::Arc};

#[cfg(feature = "metrics")]
use crate::metrics::Recorder;
use crate::{
    error::BoxError,
    event::HookError,
    refresh::AnyRefresher,
    rt::{Nanos, Timestamp},
    sync::{self, AtomicUsize, Mutex, MutexGuard, Notified, Notify, OnceLock},
    token::{AccessToken, Token},
};

use super::{
    attachment::Attachment,
    completion::Completion,
    limit::RefreshLimit,
    machine::{Machine, Rules, SaveOrder, Snapshot},
    published::Published,
    reentrancy::is_entered,
    settings::{Listener, Settings},
};

pub(crate) type Hook<T> = Arc<dyn Fn(T) -> HookFuture + Send + Sync>;
pub(crate) type HookFuture = Pin<Box<dyn Future<Output = Result<(), HookError>> + Send>>;

/// What all clones of a session share.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) rules: Arc<Rules>,
    pub(super) name: Option<Arc<str>>,
    pub(super) refresher: AnyRefresher,
    pub(super) save_hook: Option<Hook<SaveOrder>>,
    pub(super) revoke_hook: Option<Hook<Token>>,
    /// Set if it is in a map.
    pub(super) attachment: OnceLock<Attachment>,
    pub(super) published: Published,
    pub(super) locked: Mutex<Locked>,
    pub(super) waiters: AtomicUsize,
    /// Shared with watches, which don't keep the session alive. Created by the first that waits for a change.
    pub(super) changed: OnceLock<Arc<Notify>>,
}

pub(super) struct Locked {
    pub(super) machine: Machine,
    /// By the number of the flight: the one in progress, the next one if callers wait for a backoff, and
    /// briefly one that was just abandoned.
    pub(super) completions: Vec<(u64, Completion)>,
    /// Increases with each change that watchers are notified of.
    pub(super) version: u64,
    /// The last reading of the clock.
    pub(super) now: Timestamp,
}

// === impl Shared ===

impl Shared {
    /// Identifies the session.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    pub(super) fn refresh_limit(&self) -> Option<&RefreshLimit> {
        let attached = || self.attachment.get()?.refresh_limit.as_ref();
        self.settings.refresh_limit.as_ref().or_else(attached)
    }

    /// The listeners of the session, and that of its map.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        let attached = self.attachment.get().and_then(|attachment| attachment.listener.as_ref());
        self.settings.listeners.iter().chain(attached)
    }

    /// The metrics of the session. They have its name unless it is one of many.
    #[cfg(feature = "metrics")]
    pub(super) fn recorder(&self) -> Recorder {
        Recorder { session: self.name.clone().filter(|_| !self.is_mapped()) }
    }

    #[cfg(feature = "metrics")]
    pub(super) fn is_mapped(&self) -> bool {
        self.attachment.get().is_some()
    }

    /// A caller gets it before it looks at the state under the lock, so it is notified of any later change.
    pub(super) fn notifier(&self) -> &Arc<Notify> {
        self.changed.get_or_init(Arc::default)
    }

    pub(super) fn changed(&self) -> Notified<'_> {
        self.notifier().notified()
    }

    pub(super) fn notify_changed(&self) {
        if let Some(changed) = self.changed.get() {
            changed.notify_waiters();
        }
    }

    /// Reads the token that can be used immediately, without the lock.
    #[inline]
    pub(super) fn with_published<T>(
        &self,
        now: Timestamp,
        read: impl FnOnce(&AccessToken) -> T,
    ) -> Option<T> {
        self.read_snapshot(now, |snapshot| Some(read(&snapshot.token)))
    }

    /// The token that can be used immediately and has the minimum lifetime, without the lock.
    pub(super) fn published_for(&self, now: Timestamp, min_lifetime: Nanos) -> Option<AccessToken> {
        self.read_snapshot(now, |snapshot| {
            (snapshot.time_left(now) >= min_lifetime).then(|| snapshot.token.clone())
        })
    }

    #[inline]
    fn read_snapshot<T>(&self, now: Timestamp, read: impl FnOnce(&Snapshot) -> Option<T>) -> Option<T> {
        self.published.read(now, |snapshot| {
            if snapshot.stale && is_entered(self.id()) {
                return None;
            }
            read(snapshot)
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked> {
        sync::lock(&self.locked)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Wakes the watches, which then return `Closed`.
        self.notify_changed();
    }
}

/// Erases the types of a user's hook.
pub(super) fn hook<T, F, Fut, E>(hook: F) -> Hook<T>
where
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |input| {
        let call = hook(input);
        Box::pin(async move { call.await.map_err(|error| HookError::failed(error.into())) })
    })
}
