//! Waiting for a flight, with patience.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt, future::Shared};

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    rt::{Nanos, Sleep, nanos},
    token::AccessToken,
};

use super::{
    completion::Landed,
    driver::{Begun, Place, nanos_left},
    machine::{Decision, Demand, Resume, Wait},
    reentrancy::is_inside,
    shared::{Core, WaitLimits},
};

/// A caller who waits.
///
/// # Cancel safety
///
/// Dropping it at any point ends this caller's wait, and nothing else.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub(crate) struct Waiter {
    wait: Wait,
    shared: Shared<Landed>,
    timer: Sleep,
    /// On the monotonic clock.
    deadline: Nanos,
    place: Place,
}

/// The first answer to a demand.
pub(crate) enum Asked {
    Use(AccessToken),
    Wait(Waiter),
}

// === impl Waiter ===

impl Waiter {
    /// Asks for a token by way of the lock.
    pub(super) fn ask(
        core: &Arc<Core>,
        demand: Demand,
        limits: WaitLimits,
        challenges: Option<Challenges>,
    ) -> Result<Asked, Error> {
        let now = core.clock.now();
        match core.begin(demand, now, limits.max_waiters, challenges)? {
            Begun::Use(token) => Ok(Asked::Use(token)),
            Begun::Wait(wait, shared, place) => {
                let patience = limits.patience;
                let first = if wait.brief { limits.after_rejection.min(patience) } else { patience };
                let deadline = now.monotonic.saturating_add(nanos(patience));
                Ok(Asked::Wait(Self { wait, shared, timer: sleep(core, first)?, deadline, place }))
            }
        }
    }

    fn decide_anew(&mut self, limits: WaitLimits) -> Poll<Result<(), Result<AccessToken, Error>>> {
        let core = self.place.core();
        let now = core.clock.now();
        match core.begin_anew(&self.wait, now) {
            Err(error) => Poll::Ready(Err(Err(error))),
            Ok(Ok(token)) => Poll::Ready(Err(Ok(token))),
            Ok(Err((wait, shared))) => {
                let left = nanos_left(self.deadline, now);
                let first = if wait.brief { limits.after_rejection.min(left) } else { left };
                match sleep(core, first) {
                    Ok(timer) => self.timer = timer,
                    Err(error) => return Poll::Ready(Err(Err(error))),
                }
                self.wait = wait;
                self.shared = shared;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Polls for the end of the wait; the limits are those that it began with.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        limits: WaitLimits,
    ) -> Poll<Result<AccessToken, Error>> {
        loop {
            if let Poll::Ready(outcome) = self.shared.poll_unpin(cx) {
                match outcome.resume(&self.wait) {
                    Resume::Use(token) => return Poll::Ready(Ok(token)),
                    Resume::Fail(error) => return Poll::Ready(Err(error)),
                    Resume::Anew => match ready!(self.decide_anew(limits)) {
                        Ok(()) => continue,
                        Err(result) => return Poll::Ready(result),
                    },
                }
            }
            let core = self.place.core();
            if is_inside(core.id()) {
                return Poll::Ready(Err(Error::new(ErrorKind::Reentrant)));
            }
            ready!(Pin::new(&mut self.timer).poll(cx));
            if self.wait.brief {
                match core.brief_wait_over(&self.wait) {
                    Some(Decision::Use(token)) => return Poll::Ready(Ok(token)),
                    Some(Decision::Fail(error)) => return Poll::Ready(Err(error)),
                    Some(Decision::Wait(_)) | None => {}
                }
                self.wait.brief = false;
                let left = nanos_left(self.deadline, core.clock.now());
                self.timer = sleep(core, left)?;
                continue;
            }
            return Poll::Ready(match core.patience_over(&self.wait) {
                Decision::Use(token) => Ok(token),
                Decision::Fail(error) => Err(error),
                Decision::Wait(_) => Err(Error::new(ErrorKind::Timeout)),
            });
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("wait", &self.wait).finish_non_exhaustive()
    }
}

fn sleep(core: &Core, duration: Duration) -> Result<Sleep, Error> {
    core.clock.sleep(duration).map_err(|_| Error::new(ErrorKind::MissingRuntime))
}
