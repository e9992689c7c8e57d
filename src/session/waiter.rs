//! A caller that waits for a flight, with its timers.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::FutureExt;

#[cfg(feature = "metrics")]
use crate::metrics::Recorder;
use crate::{
    error::{Error, ErrorKind},
    rt::{Nanos, Sleep, Timestamp, duration},
    sync::Ordering,
    token::{AccessToken, Epoch},
};

use super::{
    completion::{Awaited, Completion},
    machine::{Wait, WaitLimits, WaitStage},
    reentrancy::is_entered,
    shared::Shared,
};

/// A caller that waits.
///
/// # Cancel safety
///
/// Dropping it at any point ends this caller's wait, and nothing else.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub(crate) struct Waiter {
    wait: Wait,
    awaited: Awaited,
    timer: Sleep,
    /// On the monotonic clock.
    deadline: Nanos,
    limits: WaitLimits,
    count: WaiterCount,
    #[cfg(feature = "metrics")]
    recorded: Box<RecordedWait>,
}

/// Counts a waiter until dropped.
pub(super) struct WaiterCount {
    shared: Arc<Shared>,
}

/// Records a wait when it is dropped.
#[cfg(feature = "metrics")]
struct RecordedWait {
    shared: Arc<Shared>,
    /// Kept, as the session may be put into a map during the wait.
    recorder: Recorder,
    started: Timestamp,
    outcome: &'static str,
}

// === impl Waiter ===

impl Waiter {
    pub(super) fn new(
        wait: Wait,
        completion: Completion,
        count: WaiterCount,
        limits: WaitLimits,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let timer = count.sleep(time_of(&wait, &limits))?;
        let deadline = now.monotonic.saturating_add(limits.timeout);
        Ok(Self {
            wait,
            awaited: completion.awaited(),
            timer,
            deadline,
            limits,
            #[cfg(feature = "metrics")]
            recorded: Box::new(RecordedWait::new(&count.shared, now)),
            count,
        })
    }

    /// Whether it waits for a token of the same sign-in as `epoch`.
    pub(crate) fn is_of_sign_in(&self, epoch: Epoch) -> bool {
        self.wait.epoch.is_same_sign_in(epoch)
    }

    pub(super) fn wait(&self) -> Wait {
        self.wait
    }

    /// Its limits, with what is left of its timeout.
    pub(super) fn limits_at(&self, now: Timestamp) -> WaitLimits {
        WaitLimits { timeout: self.deadline.saturating_sub(now.monotonic), ..self.limits }
    }

    /// Waits for another flight, until the same deadline.
    pub(super) fn renew(&mut self, wait: Wait, completion: Completion, now: Timestamp) -> Result<(), Error> {
        self.timer = self.count.sleep(time_of(&wait, &self.limits_at(now)))?;
        self.wait = wait;
        self.awaited = completion.awaited();
        Ok(())
    }

    /// Polls for the end of the wait.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<AccessToken, Error>> {
        let result = ready!(self.poll_end(cx));
        #[cfg(feature = "metrics")]
        {
            self.recorded.outcome = if result.is_ok() { "token" } else { "error" };
        }
        Poll::Ready(result)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<AccessToken, Error>> {
        loop {
            if let Poll::Ready(outcome) = self.awaited.poll_unpin(cx) {
                if let Some(result) = outcome.resume(&self.wait) {
                    return Poll::Ready(result);
                }
                if let Some(token) = self.demand_again()? {
                    return Poll::Ready(Ok(token));
                }
                continue;
            }
            let shared = &self.count.shared;
            if is_entered(shared.id()) {
                return Poll::Ready(Err(Error::new(ErrorKind::Reentrant)));
            }
            ready!(Pin::new(&mut self.timer).poll(cx));
            match self.wait.stage {
                WaitStage::Full => return Poll::Ready(self.timed_out()),
                WaitStage::Short => {
                    if let Some(result) = shared.turn(|turn| turn.short_wait_over(&self.wait)) {
                        return Poll::Ready(result);
                    }
                    self.wait.stage = WaitStage::Full;
                    self.timer = self.count.sleep(self.limits_at(shared.now()).timeout)?;
                }
                WaitStage::Backoff(_) => {
                    if let Some(token) = self.demand_again()? {
                        return Poll::Ready(Ok(token));
                    }
                }
            }
        }
    }

    /// Decides again. `None`: it keeps waiting.
    fn demand_again(&mut self) -> Result<Option<AccessToken>, Error> {
        let shared = Arc::clone(&self.count.shared);
        shared.demand_again(self)
    }

    fn timed_out(&self) -> Result<AccessToken, Error> {
        let result = self.count.shared.turn(|turn| turn.timed_out(&self.wait));
        // Decided up front, because a coarse clock may lag behind the timer.
        result.map_err(|error| match error.is_timeout() && self.limits.until_deadline {
            true => Error::new(ErrorKind::Deadline),
            false => error,
        })
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("wait", &self.wait).finish_non_exhaustive()
    }
}

/// The time until the next decision.
fn time_of(wait: &Wait, limits: &WaitLimits) -> Nanos {
    match wait.stage {
        WaitStage::Full => limits.timeout,
        WaitStage::Short => limits.rejection_wait.min(limits.timeout),
        WaitStage::Backoff(left) => left,
    }
}

// === impl WaiterCount ===

impl WaiterCount {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.waiters.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared) }
    }

    pub(super) fn waiters(&self) -> usize {
        self.shared.waiters.load(Ordering::Relaxed)
    }

    fn sleep(&self, nanos: Nanos) -> Result<Sleep, Error> {
        self.shared.settings.clock.sleep(duration(nanos)).map_err(|_| Error::new(ErrorKind::MissingRuntime))
    }
}

impl Drop for WaiterCount {
    fn drop(&mut self) {
        self.shared.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl RecordedWait ===

#[cfg(feature = "metrics")]
impl RecordedWait {
    fn new(shared: &Arc<Shared>, started: Timestamp) -> Self {
        let recorder = shared.recorder();
        recorder.wait_began();
        Self { shared: Arc::clone(shared), recorder, started, outcome: "cancelled" }
    }
}

#[cfg(feature = "metrics")]
impl Drop for RecordedWait {
    fn drop(&mut self) {
        let elapsed = self.shared.now().elapsed_since(self.started);
        self.recorder.wait_ended(self.outcome, elapsed);
    }
}
