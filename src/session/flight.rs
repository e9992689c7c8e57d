//! One refresh as a task, its guard, and what it reports to the machine.
//!
//! The task's guard is the only way a flight completes, whether it succeeded, failed, panicked, was dropped
//! with its runtime or was never polled. It stores the outcome in the session, and then completes the
//! [`completion`](super::completion).
//!
//! NOTE: [`driver`](super::driver) and this file call each other: a start makes a flight, whose end goes back
//! there.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};

use crate::{
    refresh::{IsWanted, RefreshContext},
    rt::duration,
};

use super::{
    completion::Completion,
    hooks::{self, Ran},
    limit::Permit,
    machine::{FlightEnd, FlightInfo, Lost, Outcome, Saving},
    shared::Shared,
};

const SAVE_AGAIN: Duration = Duration::from_secs(2);

/// Completes its flight when dropped.
pub(super) struct FlightGuard {
    shared: Arc<Shared>,
    completion: Completion,
    info: FlightInfo,
    end: FlightEnd,
}

/// Runs one refresh.
pub(super) async fn run(mut guard: FlightGuard, cx: RefreshContext) {
    let shared = Arc::clone(&guard.shared);
    let permit = match permit(&shared, &guard.info).await {
        Ok(permit) => permit,
        Err(lost) => {
            guard.end = FlightEnd::Lost(lost);
            return;
        }
    };
    let deadline = shared.now().monotonic.saturating_add(shared.rules.refresh_timeout);
    refresh(guard, cx).await;
    drop(permit);
    // Other processes need what the store couldn't save, and this session might not be called again soon.
    while shared.turn(|turn| turn.has_unsaved_for_store()) && shared.now().monotonic < deadline {
        let Ok(pause) = shared.settings.clock.sleep(SAVE_AGAIN) else { return };
        pause.await;
        shared.turn(|turn| turn.save_now());
    }
}

/// Waits for a permit, if there is a limit.
async fn permit(shared: &Arc<Shared>, flight: &FlightInfo) -> Result<Option<Permit>, Lost> {
    let Some(limit) = shared.refresh_limit() else { return Ok(None) };
    if let Some(permit) = limit.try_acquire() {
        return Ok(Some(permit));
    }
    let mut acquire = pin!(limit.acquire());
    loop {
        let mut changed = pin!(shared.changed());
        shared.turn(|turn| turn.queue(flight))?;
        // A queued flight is abandoned after its timeout unless its task keeps being polled.
        let half = Some(shared.rules.refresh_timeout / 2);
        let look_again = select(&mut changed, shared.sleep_or_forever(half));
        if let Either::Left((permit, _)) = select(&mut acquire, look_again).await {
            return Ok(Some(permit));
        }
    }
}

async fn refresh(mut guard: FlightGuard, mut cx: RefreshContext) {
    let shared = Arc::clone(&guard.shared);
    // The session may have changed before this first poll.
    match shared.turn(|turn| turn.begin(&guard.info)) {
        Ok(info) => guard.info = info,
        Err(lost) => {
            guard.end = FlightEnd::Lost(lost);
            return;
        }
    }
    let (left, deadline) = guard.info.timeout(shared.rules.refresh_timeout);
    let Ok(mut timeout) = shared.settings.clock.sleep(duration(left)) else {
        guard.end = FlightEnd::Lost(Lost::NoTimer);
        return;
    };
    let mut token = loop {
        guard.end = FlightEnd::Lost(Lost::Dropped);
        let clock = Arc::clone(&shared.settings.clock);
        let call = shared.refresher.call(cx.in_flight(clock, deadline, guard.is_wanted()));
        match hooks::run_user_code(&shared, call, &mut timeout).await {
            Ran::Done(Ok(token)) => break token,
            Ran::Done(Err(error)) => match shared.turn(|turn| turn.on_failure(&guard.info, &error)) {
                Some((info, again)) => {
                    guard.info = info;
                    cx = again;
                }
                None => {
                    guard.end = FlightEnd::Failed(error);
                    return;
                }
            },
            Ran::Panicked => {
                guard.end = FlightEnd::Lost(Lost::Panicked);
                return;
            }
            Ran::TimedOut => {
                guard.end = FlightEnd::Lost(Lost::TimedOut);
                return;
            }
        }
    };
    shared.settings.headers.add_to(&mut token);
    // From here on the machine has the response, and publishes it however this task ends.
    guard.end = FlightEnd::Responded;
    shared.turn(|turn| turn.respond(&guard.info, token));
    loop {
        let changed = shared.changed();
        match shared.turn(|turn| turn.save_before_landing(&guard.info)) {
            Saving::Done => return,
            Saving::Now(order) => return hooks::save(Arc::clone(&shared), *order, Some(timeout)).await,
            Saving::After => {
                // A save that nobody drives is given up after its timeout.
                let Ok(pause) = shared.settings.clock.sleep(duration(shared.rules.save_timeout)) else {
                    return;
                };
                let ended = select(Box::pin(changed), pause);
                if let Either::Right(_) = select(ended, &mut timeout).await {
                    return;
                }
            }
        }
    }
}

// === impl FlightGuard ===

impl FlightGuard {
    pub(super) fn new(shared: Arc<Shared>, completion: Completion, info: FlightInfo) -> Self {
        Self { shared, completion, info, end: FlightEnd::Lost(Lost::NeverCalled) }
    }

    /// A check for the refresher: whether the session would still accept the flight's token.
    fn is_wanted(&self) -> IsWanted {
        let (shared, info) = (Arc::downgrade(&self.shared), self.info.clone());
        Arc::new(move || shared.upgrade().is_some_and(|shared| shared.turn(|turn| turn.is_wanted(&info))))
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, FlightEnd::Responded);
        self.shared.turn(|turn| turn.land(&self.info, end));
        // If the session had already abandoned this flight, the caller that did may not have completed it yet.
        self.completion.clone().complete(Arc::new(Outcome::abandoned(&self.info)));
    }
}
