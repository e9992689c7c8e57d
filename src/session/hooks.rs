//! Running user code: save and revoke hooks, and any user's future with a timeout.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{
    FutureExt,
    future::{Either, select},
};

use crate::{
    event::HookError,
    panics::drop_panic,
    rt::{Sleep, duration},
    token::Token,
};

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

/// Reports the end of a save.
struct SaveGuard {
    shared: Arc<Shared>,
    id: u64,
    result: Result<(), HookError>,
}

/// Reports the end of a revocation.
struct RevokeGuard {
    shared: Arc<Shared>,
    result: Result<(), HookError>,
}

/// Calls the save hook, for at most its own timeout and that of its flight, if it has one.
pub(super) fn save(
    shared: Arc<Shared>,
    order: SaveOrder,
    flight_timeout: Option<Sleep>,
) -> impl Future<Output = ()> + Send {
    let guard = SaveGuard { shared, id: order.id, result: Err(HookError::DROPPED) };
    async move {
        // Move the whole guard: a disjoint capture would copy the result.
        let mut guard = guard;
        let shared = Arc::clone(&guard.shared);
        let (Some(hook), Ok(mut timeout)) =
            (&shared.save_hook, shared.settings.clock.sleep(duration(shared.rules.save_timeout)))
        else {
            return;
        };
        let run = run_hook(&shared, hook, order, &mut timeout);
        guard.result = match flight_timeout {
            None => run.await,
            Some(flight_timeout) => match select(Box::pin(run), flight_timeout).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(HookError::TIMED_OUT),
            },
        };
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
            (&shared.revoke_hook, shared.settings.clock.sleep(duration(shared.rules.refresh_timeout)))
        {
            guard.result = run_hook(&shared, hook, token, &mut timeout).await;
        }
    }
}

async fn run_hook<T>(
    shared: &Shared,
    hook: &Hook<T>,
    input: T,
    timeout: &mut Sleep,
) -> Result<(), HookError> {
    let hook = Arc::clone(hook);
    // The panic guard also covers what the hook does before it returns its future.
    let call = Box::pin(async move { hook(input).await });
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

// === impl SaveGuard ===

impl Drop for SaveGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.shared.turn(|turn| turn.save_ended(self.id, result));
    }
}

// === impl RevokeGuard ===

impl Drop for RevokeGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.shared.turn(|turn| turn.revocation_ended(result));
    }
}
