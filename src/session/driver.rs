//! Runs the machine under the lock, and performs its effects after releasing it.
//!
//! NOTE: [`flight`](super::flight) and this file call each other: a start makes a flight, whose end comes
//! back here.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::time::SystemTime;

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    event::{Event, EventKind},
    panics::catch_panic,
    refresh::RefreshContext,
    rt::{Nanos, Sleep, Task, Timestamp, duration},
    sync::Ordering,
    token::AccessToken,
};

use super::{
    completion::Completion,
    flight::{self, FlightGuard},
    hooks,
    machine::{Decision, Demand, Effects, FlightInfo, Outcome, Status, Turn, Wait, WaitLimits},
    reentrancy::{Entered, is_entered},
    shared::{Locked, Shared},
    waiter::{Waiter, WaiterCount},
};

/// The result of a demand.
pub(crate) enum Demanded {
    Use(AccessToken),
    Wait(Waiter),
}

/// A decision, with what its waiter must get under the lock.
enum Placed<C> {
    Use(AccessToken),
    /// With the count of a new waiter.
    Wait(Wait, Completion, C),
}

/// What remains to be done after unlocking.
#[derive(Default)]
struct Resolved {
    completed: Vec<(Completion, Arc<Outcome>)>,
    start: Option<(FlightInfo, RefreshContext, Completion)>,
    notifies: bool,
    #[cfg(feature = "metrics")]
    expires_at: Option<SystemTime>,
}

// === impl Shared ===

impl Shared {
    /// The only entry point of callers that want a token.
    pub(super) fn demand(
        self: &Arc<Self>,
        demand: Demand,
        limits: WaitLimits,
        challenges: Option<Challenges>,
    ) -> Result<Demanded, Error> {
        if is_entered(self.id()) {
            return Err(Error::new(ErrorKind::Reentrant));
        }
        let now = self.now();
        let can_start = self.settings.spawner.is_ready();
        let placed = self.update(now, |locked, waiters, effects| {
            let mut turn = locked.machine.turn(now, waiters, effects);
            if let (Demand::Rejected(id), Some(challenges)) = (demand, challenges) {
                turn.note_challenges(id, challenges);
            }
            let decision = turn.demand(demand, &limits, can_start)?;
            let placed = self.place(decision, locked, now, effects, || WaiterCount::new(self));
            if let Placed::Wait(_, _, count) = &placed {
                // A caller that waits for a backoff has no flight to join yet.
                let joins = effects.start.is_none() && locked.machine.is_refreshing();
                if joins && self.listens() {
                    locked.machine.turn(now, waiters, effects).joined(count.waiters());
                }
            }
            Ok(placed)
        })?;
        match placed {
            Placed::Use(token) => Ok(Demanded::Use(token)),
            Placed::Wait(wait, completion, count) => {
                Waiter::new(wait, completion, count, limits, now).map(Demanded::Wait)
            }
        }
    }

    /// Starts a refresh that is due, for nobody in particular.
    pub(super) fn start_refresh(self: &Arc<Self>) {
        let can_start = self.settings.spawner.is_ready();
        // Neither a token nor a waiter is needed.
        self.turn(|turn| drop(turn.demand(Demand::New, &self.settings.limits, can_start)));
    }

    /// Decides again for a waiter whose flight has ended. `None`: it keeps waiting.
    pub(super) fn demand_again(self: &Arc<Self>, waiter: &mut Waiter) -> Result<Option<AccessToken>, Error> {
        let now = self.now();
        let can_start = self.settings.spawner.is_ready();
        let (wait, limits) = (waiter.wait(), waiter.limits_at(now));
        let placed = self.update(now, |locked, waiters, effects| {
            let mut turn = locked.machine.turn(now, waiters, effects);
            let decision = turn.demand_again(&wait, &limits, can_start)?;
            Ok(self.place(decision, locked, now, effects, || ()))
        })?;
        match placed {
            Placed::Use(token) => Ok(Some(token)),
            Placed::Wait(wait, completion, ()) => waiter.renew(wait, completion, now).map(|()| None),
        }
    }

    fn place<C>(
        self: &Arc<Self>,
        decision: Decision,
        locked: &mut Locked,
        now: Timestamp,
        effects: &Effects,
        count: impl FnOnce() -> C,
    ) -> Placed<C> {
        match decision {
            Decision::Use(token) => {
                if !effects.publish {
                    self.published.fill(locked.machine.snapshot(now));
                }
                Placed::Use(token)
            }
            Decision::Wait(wait) => Placed::Wait(wait, locked.completion(wait.flight).clone(), count()),
        }
    }

    /// The current time. The clock is user code: if it panics, its last reading counts, as flights and saves
    /// must be able to end.
    pub(super) fn now(&self) -> Timestamp {
        catch_panic(|| self.settings.clock.precise_now()).unwrap_or_else(|| self.lock().now)
    }

    /// A timer for what may end without a notification. It never fires if `left` is `None` or there are no
    /// timers.
    pub(super) fn sleep_or_forever(&self, left: Option<Nanos>) -> Sleep {
        let timer = left.and_then(|left| self.settings.clock.sleep(duration(left)).ok());
        timer.unwrap_or_else(|| Box::pin(std::future::pending()))
    }

    /// Runs one step of the machine.
    pub(super) fn turn<T>(self: &Arc<Self>, step: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let now = self.now();
        self.update(now, |locked, waiters, effects| step(&mut locked.machine.turn(now, waiters, effects)))
    }

    /// The status, and the version of it that watches compare.
    pub(super) fn status(self: &Arc<Self>) -> (Status, u64) {
        let now = self.now();
        self.update(now, |locked, waiters, effects| {
            locked.machine.turn(now, waiters, effects).advance();
            let mut status = locked.machine.status(now, waiters);
            status.name.clone_from(&self.name);
            (status, locked.version)
        })
    }

    /// Returns the published token, or publishes it for this thread first.
    pub(super) fn current(&self, now: Timestamp) -> Option<AccessToken> {
        if let Some(token) = self.with_published(now, AccessToken::clone) {
            return Some(token);
        }
        let locked = self.lock();
        let snapshot = locked.machine.snapshot(now)?;
        let token = snapshot.token.clone();
        self.published.fill(Some(snapshot));
        Some(token)
    }

    /// Changes the machine under the lock, then performs the effects.
    fn update<T>(
        self: &Arc<Self>,
        now: Timestamp,
        change: impl FnOnce(&mut Locked, usize, &mut Effects) -> T,
    ) -> T {
        let mut effects = Effects::default();
        let mut locked = self.lock();
        locked.now = now;
        let result = change(&mut locked, self.waiters.load(Ordering::Relaxed), &mut effects);
        // A caller that joins a flight nearly always has none.
        if effects.is_empty() {
            return result;
        }
        let resolved = locked.resolve(&mut effects);
        if effects.publish {
            self.published.publish(locked.machine.snapshot(now));
        }
        drop(locked);
        self.perform(effects, resolved, now);
        result
    }

    fn listens(&self) -> bool {
        self.listeners().next().is_some() || cfg!(feature = "tracing")
    }

    #[cold]
    fn perform(self: &Arc<Self>, mut effects: Effects, resolved: Resolved, now: Timestamp) {
        // Its guard exists before any user code runs.
        let flight = resolved.start.map(|(info, cx, completion)| {
            let guard = FlightGuard::new(Arc::clone(self), completion, info);
            flight::run(guard, cx)
        });
        #[cfg(feature = "metrics")]
        self.record(&effects, resolved.expires_at);
        for event in &mut effects.events {
            event.session.clone_from(&self.name);
            self.emit(event, now);
        }
        for (completion, outcome) in resolved.completed {
            catch_panic(|| completion.complete(outcome));
        }
        if let Some(flight) = flight {
            self.run(Box::pin(flight));
        }
        if let Some(order) = effects.save.take() {
            self.run(Box::pin(hooks::save(Arc::clone(self), *order, None)));
        }
        for token in effects.revoke.drain(..) {
            self.run(Box::pin(hooks::revoke(Arc::clone(self), token)));
        }
        if resolved.notifies {
            catch_panic(|| self.notify_changed());
        }
        // Last, as the destructor of a user's error may panic.
        for event in effects.events.drain(..) {
            catch_panic(|| drop(event));
        }
        for dropped in effects.dropped() {
            catch_panic(|| drop(dropped));
        }
    }

    #[cfg(feature = "metrics")]
    fn record(&self, effects: &Effects, expires_at: Option<SystemTime>) {
        let _entered = Entered::new(self.id());
        let recorder = self.recorder();
        for refresh in &effects.ended_refreshes {
            recorder.refresh_ended(refresh);
        }
        if effects.publish && !self.is_mapped() {
            recorder.expires_at(expires_at);
        }
    }

    /// A task that can't be spawned is dropped; its guard reports that.
    fn run(&self, task: Task) {
        catch_panic(|| {
            let _ = self.settings.spawner.spawn(task);
        });
    }

    /// A panic in a subscriber or a listener must not affect the session or the other listeners.
    fn emit(&self, event: &Event, now: Timestamp) {
        let _entered = Entered::new(self.id());
        #[cfg(feature = "tracing")]
        catch_panic(|| super::log::log(event, self.name.as_deref(), now.wall()));
        #[cfg(not(feature = "tracing"))]
        let _ = now;
        for listener in self.listeners() {
            catch_panic(|| listener(event));
        }
    }
}

// === impl Locked ===

impl Locked {
    /// The completion that a flight's waiters poll.
    fn completion(&mut self, flight: u64) -> &Completion {
        let at = self.completions.iter().position(|(id, _)| *id == flight).unwrap_or_else(|| {
            self.completions.push((flight, Completion::new()));
            self.completions.len() - 1
        });
        &self.completions[at].1
    }

    /// Resolves flights to their completions.
    fn resolve(&mut self, effects: &mut Effects) -> Resolved {
        let mut resolved = Resolved::default();
        for (flight, outcome) in effects.ended.drain(..) {
            if let Some(at) = self.completions.iter().position(|(id, _)| *id == flight) {
                resolved.completed.push((self.completions.swap_remove(at).1, outcome));
            }
        }
        if self.completions.is_empty() {
            // An idle session keeps no space for them.
            self.completions = Vec::new();
        }
        if let Some(start) = effects.start.take() {
            let (info, cx) = *start;
            let completion = self.completion(info.id).clone();
            resolved.start = Some((info, cx, completion));
        }
        let is_change = |event: &Event| !matches!(event.kind, EventKind::RefreshJoined { .. });
        resolved.notifies = effects.notify || effects.events.iter().any(is_change);
        self.version += u64::from(resolved.notifies);
        #[cfg(feature = "metrics")]
        {
            resolved.expires_at = self.machine.expires_at();
        }
        resolved
    }
}
