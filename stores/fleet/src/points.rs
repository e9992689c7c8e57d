//! Points of a refresh at which a process stops itself.

use std::{
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{Signal, raise},
};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Token,
    refresh::RefreshReason,
    store::{Hold, Loaded, Record, StoreError, Swap, TokenStore, Version},
};

use crate::{Point, Report, worker::report};

/// Where this process stops next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Points(Arc<Mutex<Option<Point>>>);

/// A store with points in its swaps. It counts its operations.
#[derive(Debug)]
pub(crate) struct PointStore<S> {
    pub(crate) inner: S,
    pub(crate) points: Points,
    pub(crate) operations: Arc<Operations>,
}

#[derive(Debug, Default)]
pub(crate) struct Operations {
    pub(crate) loads: AtomicUsize,
    pub(crate) swaps: AtomicUsize,
}

/// A refresher with a point after its response. It counts declared repeats.
#[derive(Debug)]
pub(crate) struct PointRefresher<R> {
    pub(crate) inner: R,
    pub(crate) points: Points,
    pub(crate) repeated: Arc<AtomicUsize>,
}

// === impl Points ===

impl Points {
    pub(crate) fn set(&self, point: Option<Point>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = point;
    }

    fn take(&self, point: Point) -> bool {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        next.take_if(|next| *next == point).is_some()
    }

    /// Stops the process if this is the point. It goes on when it is resumed.
    ///
    /// It stops itself, by a signal to this very thread, so that nothing else can happen first.
    fn reach(&self, point: Point) {
        if self.take(point) {
            report(&Report::At(point));
            raise(Signal::SIGSTOP).expect("a process may stop itself");
        }
    }

    /// At this point, makes the kernel kill the process in the middle of the next file that it writes.
    fn die_while_writing(&self, point: Point) -> io::Result<()> {
        if self.take(point) {
            // More than a lock file has. What is written beyond it is `SIGXFSZ`.
            setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
            setrlimit(Resource::RLIMIT_FSIZE, 64, 64)?;
        }
        Ok(())
    }
}

// === impl PointStore ===

impl<S: TokenStore> TokenStore for PointStore<S> {
    fn load(&self) -> impl Future<Output = Result<Option<Loaded>, StoreError>> + Send {
        self.operations.loads.fetch_add(1, Ordering::Relaxed);
        self.inner.load()
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let is_claim = has_claim(record);
        let (during, after) = match is_claim {
            true => (Point::InClaimSwap, Point::ClaimWritten),
            false => (Point::InSaveSwap, Point::Saved),
        };
        if !is_claim {
            self.points.reach(Point::SaveBegun);
        }
        self.operations.swaps.fetch_add(1, Ordering::Relaxed);
        self.points.die_while_writing(during).map_err(StoreError::unavailable)?;
        let swapped = self.inner.swap(expected, record).await?;
        if matches!(swapped, Swap::Written(_)) {
            self.points.reach(after);
        }
        Ok(swapped)
    }

    fn changed(&self) -> impl Future<Output = ()> + Send {
        self.inner.changed()
    }

    fn try_hold(&self) -> impl Future<Output = Result<Hold, StoreError>> + Send {
        self.inner.try_hold()
    }
}

fn has_claim(record: &Record) -> bool {
    let record: serde_json::Value = serde_json::from_slice(record.as_bytes()).unwrap_or_default();
    record["claim"].is_object()
}

// === impl PointRefresher ===

impl<R: Refresher> Refresher for PointRefresher<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        if cx.reason() == RefreshReason::Repeated {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
        let refreshed = self.inner.refresh(cx).await;
        if refreshed.is_ok() {
            self.points.reach(Point::ResponseRead);
        }
        refreshed
    }
}
