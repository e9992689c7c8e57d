//! One refresh, many waiters.
//!
//! The refresh is a task of its own, so that no caller's drop ends it. One guard in the task is the only path by which
//! a flight ends: answered, failed, panicked, dropped with its runtime or never polled. It stores the outcome in the
//! session, and then opens the [`gate`](super::completion) to the waiters.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{
    FutureExt,
    future::{Either, select},
};

use crate::{refresh::RefreshContext, rt::Sleep, token::Token};

use super::{
    completion::Gate,
    machine::{After, Landing, Lost, Outcome, SaveOrder, SaveResult, Ticket},
    reentrancy::Inside,
    shared::{Core, Hook, HookFailed},
};

/// Owns a flight's end.
pub(super) struct Guard {
    core: Arc<Core>,
    gate: Gate,
    ticket: Ticket,
    landing: Option<Landing>,
    /// How its save failed, if it did.
    unsaved: Option<HookFailed>,
}

struct SaveGuard {
    core: Arc<Core>,
    version: u64,
    saved: Result<(), HookFailed>,
}

struct RevokeGuard {
    core: Arc<Core>,
}

enum Ended<T> {
    Done(T),
    Panicked,
    TimeoutElapsed,
}

/// Runs one refresh.
pub(super) async fn fly(mut guard: Guard, mut cx: RefreshContext) {
    let core = Arc::clone(&guard.core);
    let Ok(mut limit) = core.clock.sleep(core.limit) else {
        guard.landing = Some(Landing::Lost(Lost::NoTimer));
        return;
    };
    let token = loop {
        guard.landing = Some(Landing::Lost(Lost::Gone));
        let timed = cx.with_shared_clock(Arc::clone(&core.clock));
        match bounded(&core, core.refresher.call(timed), &mut limit).await {
            Ended::Done(Ok(token)) => break token,
            Ended::Done(Err(error)) => match core.failed(&guard.ticket, &error) {
                After::Repeat(ticket, again) => {
                    guard.ticket = ticket;
                    cx = again;
                }
                _ => {
                    guard.landing = Some(Landing::Failed(error));
                    return;
                }
            },
            Ended::Panicked => {
                guard.landing = Some(Landing::Lost(Lost::Panic));
                return;
            }
            Ended::TimeoutElapsed => {
                guard.landing = Some(Landing::Lost(Lost::Limit));
                return;
            }
        }
    };
    // In the guard before the hook is called: whatever ends the hook, the token is published.
    guard.landing = Some(Landing::Answered(token.clone(), SaveResult::NotTried));
    save(&core, &mut guard, &token, &mut limit).await;
}

async fn save(core: &Core, guard: &mut Guard, token: &Token, limit: &mut Sleep) {
    loop {
        let changed = core.changed();
        match core.answered(&guard.ticket, token) {
            After::Save(order) => {
                let tried = |ok| Landing::Answered(token.clone(), SaveResult::Tried(order.clone(), ok));
                guard.landing = Some(tried(false));
                let saved = run_save_hook(core, order.clone(), Some(limit)).await;
                guard.landing = Some(tried(saved.is_ok()));
                guard.unsaved = saved.err();
                return;
            }
            After::WaitForSave => {
                // At its limit the other save is given up, if nobody drives it any more.
                let Ok(pause) = core.clock.sleep(core.save_timeout) else { return };
                let ended = select(Box::pin(changed), pause);
                if let Either::Right(_) = select(ended, &mut *limit).await {
                    let unsaved = SaveResult::Tried(token.clone(), false);
                    guard.landing = Some(Landing::Answered(token.clone(), unsaved));
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Hands a token to the save hook outside a flight.
pub(super) fn save_again(core: Arc<Core>, order: SaveOrder) -> impl Future<Output = ()> + Send {
    let guard = SaveGuard { core, version: order.version, saved: Err(HookFailed(None)) };
    async move {
        // As a whole: captured by fields, its flag would be a copy.
        let mut guard = guard;
        let core = Arc::clone(&guard.core);
        guard.saved = run_save_hook(&core, order.token, None).await;
    }
}

/// Hands a token that nobody wants any more to the revoke hook.
pub(super) fn revoke(core: Arc<Core>, token: Token) -> impl Future<Output = ()> + Send {
    let guard = RevokeGuard { core };
    async move {
        let core = &guard.core;
        if let (Some(hook), Ok(mut limit)) = (&core.revoke_hook, core.clock.sleep(core.limit)) {
            if let Err(failed) = run_hook(core, hook, token, &mut limit).await {
                core.tell_revoke_failed(failed);
            }
        }
    }
}

async fn run_save_hook(
    core: &Core,
    token: Token,
    refresh_timeout: Option<&mut Sleep>,
) -> Result<(), HookFailed> {
    let (Some(hook), Ok(mut limit)) = (&core.save_hook, core.clock.sleep(core.save_timeout)) else {
        return Err(HookFailed(None));
    };
    let run = run_hook(core, hook, token, &mut limit);
    match refresh_timeout {
        None => run.await,
        Some(refresh_timeout) => match select(Box::pin(run), refresh_timeout).await {
            Either::Left((saved, _)) => saved,
            Either::Right(_) => Err(HookFailed(None)),
        },
    }
}

async fn run_hook(core: &Core, hook: &Hook, token: Token, limit: &mut Sleep) -> Result<(), HookFailed> {
    let hook = Arc::clone(hook);
    // What the hook does before its future exists is within the panic guard, too.
    let call = Box::pin(async move { hook(token).await });
    match bounded(core, call, limit).await {
        Ended::Done(result) => result,
        Ended::Panicked | Ended::TimeoutElapsed => Err(HookFailed(None)),
    }
}

/// Runs a future of the user's: its panic is caught, its time limited, and it counts as the session's own work.
async fn bounded<F: Future + Unpin>(core: &Core, future: F, limit: &mut Sleep) -> Ended<F::Output> {
    let inside = Inside { session: core.id(), future };
    match select(AssertUnwindSafe(inside).catch_unwind(), limit).await {
        Either::Left((Ok(output), _)) => Ended::Done(output),
        Either::Left((Err(panic), _)) => {
            forget(panic);
            Ended::Panicked
        }
        Either::Right(_) => Ended::TimeoutElapsed,
    }
}

/// Drops a panic's payload, which may panic in turn.
pub(super) fn forget(panic: Box<dyn Any + Send>) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(panic)));
}

// === impl Guard ===

impl Guard {
    pub(super) fn new(core: Arc<Core>, gate: Gate, ticket: Ticket) -> Self {
        Self { core, gate, ticket, landing: None, unsaved: None }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let landing = self.landing.take().unwrap_or(Landing::Lost(Lost::NeverRan));
        // User code runs there, the clock and the event hook: the waiters are let go though it panics.
        let unsaved = self.unsaved.take();
        let land = || self.core.land(&self.ticket, landing, unsaved);
        let landed = std::panic::catch_unwind(AssertUnwindSafe(land));
        if let Err(panic) = landed {
            forget(panic);
        }
        // The session knew the flight no more, or could not be told.
        self.gate.clone().open(Arc::new(Outcome::gone(&self.ticket)));
    }
}

// === impl SaveGuard ===

impl Drop for SaveGuard {
    fn drop(&mut self) {
        let saved = std::mem::replace(&mut self.saved, Ok(()));
        self.core.saved_again(self.version, saved);
    }
}

// === impl RevokeGuard ===

impl Drop for RevokeGuard {
    fn drop(&mut self) {
        self.core.revoked();
    }
}
