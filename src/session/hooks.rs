//! Running users' code: save and revoke hooks, and any future of theirs with a timeout.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{
    FutureExt,
    future::{Either, select},
};

use crate::{event::HookError, rt::Sleep, token::Token};

use super::{
    machine::SaveOrder,
    reentrancy::Tracked,
    shared::{Hook, Shared},
};

pub(super) enum Ran<T> {
    Done(T),
    Panicked,
    TimedOut,
}

/// Reports the end of a save outside a flight.
struct SaveGuard {
    shared: Arc<Shared>,
    version: u64,
    result: Result<(), HookError>,
}

/// Reports the end of a revocation.
struct RevokeGuard {
    shared: Arc<Shared>,
    result: Result<(), HookError>,
}

/// Passes a token to the save hook outside a flight.
pub(super) fn save(shared: Arc<Shared>, order: SaveOrder) -> impl Future<Output = ()> + Send {
    let guard = SaveGuard { shared, version: order.version, result: Err(HookError::DROPPED) };
    async move {
        // Move the whole guard: a disjoint capture would copy the result.
        let mut guard = guard;
        let shared = Arc::clone(&guard.shared);
        guard.result = run_save_hook(&shared, order.token, None).await;
    }
}

/// Passes a discarded token to the revoke hook.
pub(super) fn revoke(shared: Arc<Shared>, token: Token) -> impl Future<Output = ()> + Send {
    let result = if shared.revoke_hook.is_some() { Err(HookError::DROPPED) } else { Ok(()) };
    let guard = RevokeGuard { shared, result };
    async move {
        let mut guard = guard;
        let shared = Arc::clone(&guard.shared);
        if let (Some(hook), Ok(mut timeout)) =
            (&shared.revoke_hook, shared.clock.sleep(shared.refresh_timeout))
        {
            guard.result = run_hook(&shared, hook, token, &mut timeout).await;
        }
    }
}

/// Runs the save hook, for at most its own timeout and that of its flight.
pub(super) async fn run_save_hook(
    shared: &Shared,
    token: Token,
    flight_timeout: Option<&mut Sleep>,
) -> Result<(), HookError> {
    let (Some(hook), Ok(mut timeout)) = (&shared.save_hook, shared.clock.sleep(shared.save_timeout)) else {
        return Err(HookError::DROPPED);
    };
    let run = run_hook(shared, hook, token, &mut timeout);
    match flight_timeout {
        None => run.await,
        Some(flight_timeout) => match select(Box::pin(run), flight_timeout).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(HookError::TIMED_OUT),
        },
    }
}

async fn run_hook(shared: &Shared, hook: &Hook, token: Token, timeout: &mut Sleep) -> Result<(), HookError> {
    let hook = Arc::clone(hook);
    // The panic guard also covers what the hook does before it returns its future.
    let call = Box::pin(async move { hook(token).await });
    match run_user_code(shared, call, timeout).await {
        Ran::Done(result) => result,
        Ran::Panicked => Err(HookError::PANICKED),
        Ran::TimedOut => Err(HookError::TIMED_OUT),
    }
}

/// Runs a user's future: catches its panic, applies the timeout, and marks the session as entered.
pub(super) async fn run_user_code<F: Future + Unpin>(
    shared: &Shared,
    future: F,
    timeout: &mut Sleep,
) -> Ran<F::Output> {
    let tracked = Tracked { session: shared.id(), future };
    match select(AssertUnwindSafe(tracked).catch_unwind(), timeout).await {
        Either::Left((Ok(output), _)) => Ran::Done(output),
        Either::Left((Err(panic), _)) => {
            drop_panic(panic);
            Ran::Panicked
        }
        Either::Right(_) => Ran::TimedOut,
    }
}

/// Drops a panic's payload, which may panic in turn.
pub(super) fn drop_panic(panic: Box<dyn Any + Send>) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(panic)));
}

// === impl SaveGuard ===

impl Drop for SaveGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.shared.turn(|turn| turn.save_ended(self.version, result));
    }
}

// === impl RevokeGuard ===

impl Drop for RevokeGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        let mut has_ended = false;
        let end = || {
            self.shared.turn(|turn| {
                has_ended = true;
                turn.revocation_ended(result);
            });
        };
        // The clock is user code: `idle` must not wait forever because it panics.
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(end)) {
            drop_panic(panic);
            if !has_ended {
                self.shared.lock().machine.forget_revocation();
                self.shared.changed.notify_waiters();
            }
        }
    }
}
