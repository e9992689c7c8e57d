//! One refresh as a task, its guard, and what it reports to the machine.
//!
//! The task's guard is the only way a flight completes, whether it succeeded, failed, panicked, was dropped
//! with its runtime or was never polled. It stores the outcome in the session, and then completes the
//! [`completion`](super::completion).
//!
//! NOTE: [`driver`](super::driver) and this file call each other: a start makes a flight, whose end goes back
//! there.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::future::{Either, select};

use crate::{event::HookError, refresh::RefreshContext, rt::Sleep, token::Token};

use super::{
    completion::Completion,
    hooks::{self, Ran},
    machine::{FlightEnd, FlightInfo, Lost, Outcome, Save, Saving},
    shared::Shared,
};

/// Completes a flight on its drop.
pub(super) struct FlightGuard {
    shared: Arc<Shared>,
    completion: Completion,
    info: FlightInfo,
    /// `None`: the task was never polled.
    end: Option<FlightEnd>,
}

/// Runs one refresh.
pub(super) async fn run(mut guard: FlightGuard, mut cx: RefreshContext) {
    let shared = Arc::clone(&guard.shared);
    let Ok(mut timeout) = shared.clock.sleep(shared.refresh_timeout) else {
        guard.end = Some(FlightEnd::Lost(Lost::NoTimer));
        return;
    };
    let token = loop {
        guard.end = Some(FlightEnd::Lost(Lost::Dropped));
        let call = shared.refresher.call(cx.with_shared_clock(Arc::clone(&shared.clock)));
        match hooks::run_user_code(&shared, call, &mut timeout).await {
            Ran::Done(Ok(token)) => break token,
            Ran::Done(Err(error)) => match shared.turn(|turn| turn.on_failure(&guard.info, &error)) {
                Some((info, again)) => {
                    guard.info = info;
                    cx = again;
                }
                None => {
                    guard.end = Some(FlightEnd::Failed(error));
                    return;
                }
            },
            Ran::Panicked => {
                guard.end = Some(FlightEnd::Lost(Lost::Panicked));
                return;
            }
            Ran::TimedOut => {
                guard.end = Some(FlightEnd::Lost(Lost::TimedOut));
                return;
            }
        }
    };
    // Stored first, so the token is published however the hook ends.
    guard.end = Some(FlightEnd::Response(token.clone(), Save::NotTried));
    save(&shared, &mut guard, token, &mut timeout).await;
}

async fn save(shared: &Arc<Shared>, guard: &mut FlightGuard, token: Token, timeout: &mut Sleep) {
    loop {
        let changed = shared.changed();
        match shared.turn(|turn| turn.on_response(&guard.info, &token)) {
            Saving::None => return,
            Saving::Now(order) => {
                let end =
                    |result| Some(FlightEnd::Response(token.clone(), Save::Tried(*order.clone(), result)));
                guard.end = end(Err(HookError::DROPPED));
                guard.end = end(hooks::run_save_hook(shared, *order.clone(), Some(timeout)).await);
                return;
            }
            Saving::After => {
                // A stuck save is abandoned after its timeout.
                let Ok(pause) = shared.clock.sleep(shared.save_timeout) else { return };
                let ended = select(Box::pin(changed), pause);
                if let Either::Right(_) = select(ended, &mut *timeout).await {
                    let unsaved = Save::Tried(token.clone(), Err(HookError::TIMED_OUT));
                    guard.end = Some(FlightEnd::Response(token, unsaved));
                    return;
                }
            }
        }
    }
}

// === impl FlightGuard ===

impl FlightGuard {
    pub(super) fn new(shared: Arc<Shared>, completion: Completion, info: FlightInfo) -> Self {
        Self { shared, completion, info, end: None }
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        let end = self.end.take().unwrap_or(FlightEnd::Lost(Lost::NeverPolled));
        // This runs user code (the clock, the listeners): wake the waiters even if it panics.
        let land = || self.shared.turn(|turn| turn.land(&self.info, end));
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(land)) {
            hooks::drop_panic(panic);
        }
        // If the session had already abandoned this flight, or couldn't be reached, nothing else completes
        // it.
        self.completion.clone().complete(Arc::new(Outcome::gone(&self.info)));
    }
}
