//! Asks the state machine under the lock, and carries out what it decides once the lock is free.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::Shared;

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    event::{Event, EventKind},
    refresh::{RefreshContext, RefreshError},
    rt::Task,
    rt::{Nanos, Timestamp},
    token::{AccessToken, Token},
};

use super::{
    completion::{Gate, Landed},
    flight::{self, Guard},
    machine::{After, Decision, Demand, Effects, Landing, Outcome, Ticket, Wait},
    reentrancy::is_inside,
    shared::{Core, HookFailed, Shell},
};

/// What the lock's holder leaves to be done once it is free.
#[derive(Default)]
struct Chores {
    effects: Effects,
    open: Vec<(Gate, Arc<Outcome>)>,
    start: Option<(Ticket, RefreshContext, Gate)>,
}

/// A place among those who wait.
pub(super) struct Place {
    core: Arc<Core>,
}

pub(super) enum Begun {
    Use(AccessToken),
    Wait(Wait, Shared<Landed>, Place),
}

// === impl Core ===

impl Core {
    /// Decides what someone who wants a token does.
    pub(super) fn begin(
        self: &Arc<Self>,
        demand: Demand,
        now: Timestamp,
        max_waiters: Option<usize>,
        challenges: Option<Challenges>,
    ) -> Result<Begun, Error> {
        if is_inside(self.id()) {
            return Err(Error::new(ErrorKind::Reentrant));
        }
        let can_start = self.spawn.is_ready();
        self.with_state(now, |shell, fx| {
            let waiters = self.waiters.load(Ordering::Relaxed);
            if let (Demand::Refused(stamp), Some(challenges)) = (demand, challenges) {
                shell.state.note_challenges(stamp, challenges);
            }
            let has_room = max_waiters.is_none_or(|most| waiters < most);
            let decision = shell.state.demand(demand, now, has_room, can_start, fx);
            fx.publish |= matches!(decision, Decision::Use(_));
            self.seat(decision, shell, fx)
        })
    }

    /// Decides anew for a waiter whose flight has ended; it keeps its place.
    pub(super) fn begin_anew(
        self: &Arc<Self>,
        wait: &Wait,
        now: Timestamp,
    ) -> Result<Result<AccessToken, (Wait, Shared<Landed>)>, Error> {
        let can_start = self.spawn.is_ready();
        self.with_state(now, |shell, fx| match shell.state.demand_anew(wait, now, can_start, fx) {
            Decision::Use(token) => Ok(Ok(token)),
            Decision::Fail(error) => Err(error),
            Decision::Wait(wait) => Ok(Err((wait, shell.gate(wait.flight).wait()))),
        })
    }

    pub(super) fn brief_wait_over(&self, wait: &Wait) -> Option<Decision> {
        let now = self.clock.now();
        self.lock().state.brief_wait_over(wait, now)
    }

    pub(super) fn patience_over(&self, wait: &Wait) -> Decision {
        let now = self.clock.now();
        self.lock().state.patience_over(wait, now)
    }

    pub(super) fn failed(self: &Arc<Self>, ticket: &Ticket, error: &RefreshError) -> After {
        let now = self.clock.now();
        self.with_state(now, |shell, fx| shell.state.failed(ticket, error, now, fx))
    }

    pub(super) fn answered(&self, ticket: &Ticket, token: &Token) -> After {
        let now = self.clock.now();
        self.lock().state.answered(ticket, token, now)
    }

    pub(super) fn land(self: &Arc<Self>, ticket: &Ticket, landing: Landing, unsaved: Option<HookFailed>) {
        let now = self.clock.now();
        let waiters = self.waiters.load(Ordering::Relaxed);
        self.with_state(now, |shell, fx| {
            shell.state.land(ticket, landing, now, waiters, fx);
            name_cause(fx, unsaved.as_ref());
        });
    }

    pub(super) fn saved_again(self: &Arc<Self>, version: u64, saved: Result<(), HookFailed>) {
        let now = self.clock.now();
        self.with_state(now, |shell, fx| {
            shell.state.saved_again(version, saved.is_ok(), now, fx);
            name_cause(fx, saved.as_ref().err());
        });
    }

    pub(super) fn tell_revoke_failed(&self, failed: HookFailed) {
        let generation = self.status().0.generation();
        self.tell(&Event { generation, kind: EventKind::TokenRevokeFailed { error: failed.0 } });
    }

    pub(super) fn revoked(&self) {
        let mut shell = self.lock();
        shell.state.revoked();
        shell.version += 1;
        drop(shell);
        self.changed.notify_waiters();
    }

    /// Changes the state under the lock, and does what follows from it once the lock is free.
    pub(super) fn with_state<T>(
        self: &Arc<Self>,
        now: Timestamp,
        change: impl FnOnce(&mut Shell, &mut Effects) -> T,
    ) -> T {
        let mut chores = Chores::default();
        let mut shell = self.lock();
        let result = change(&mut shell, &mut chores.effects);
        let told = shell.prepare(&mut chores);
        if chores.effects.publish {
            self.snapshots.publish(shell.state.quiet(now), now);
        }
        drop(shell);
        self.carry_out(chores, told);
        result
    }

    fn seat(
        self: &Arc<Self>,
        decision: Decision,
        shell: &mut Shell,
        fx: &mut Effects,
    ) -> Result<Begun, Error> {
        match decision {
            Decision::Use(token) => Ok(Begun::Use(token)),
            Decision::Fail(error) => Err(error),
            Decision::Wait(wait) => {
                let joins = fx.start.is_none();
                let shared = shell.gate(wait.flight).wait();
                let waiters = self.waiters.fetch_add(1, Ordering::Relaxed) + 1;
                if joins && self.listens() {
                    shell.state.joined(waiters, fx);
                }
                Ok(Begun::Wait(wait, shared, Place { core: Arc::clone(self) }))
            }
        }
    }

    fn listens(&self) -> bool {
        self.event_hook.is_some() || cfg!(feature = "tracing")
    }

    fn carry_out(self: &Arc<Self>, mut chores: Chores, told: bool) {
        for event in chores.effects.events.drain(..) {
            self.tell(&event);
        }
        for (gate, outcome) in chores.open.drain(..) {
            gate.open(outcome);
        }
        if let Some((ticket, cx, gate)) = chores.start.take() {
            let guard = Guard::new(Arc::clone(self), gate, ticket);
            self.run(Box::pin(flight::fly(guard, cx)));
        }
        if let Some(order) = chores.effects.save.take() {
            self.run(Box::pin(flight::save_again(Arc::clone(self), order)));
        }
        for token in chores.effects.revoke.drain(..) {
            self.run(Box::pin(flight::revoke(Arc::clone(self), token)));
        }
        if told {
            self.changed.notify_waiters();
        }
    }

    /// A task that can't be run is dropped, and its guard tells the session.
    fn run(&self, task: Task) {
        let spawned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.spawn.spawn(task)));
        if let Err(panic) = spawned {
            flight::forget(panic);
        }
    }

    fn tell(&self, event: &Event) {
        #[cfg(feature = "tracing")]
        super::log::write(event, self.name.as_deref(), self.clock.now().wall());
        if let Some(hook) = &self.event_hook {
            // A panic in the hook is nothing to the session.
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hook(event)));
            told.unwrap_or_else(flight::forget);
        }
    }
}

// === impl Shell ===

impl Shell {
    /// Where the waiters of a flight meet.
    fn gate(&mut self, flight: u64) -> &Gate {
        let at = self.gates.iter().position(|(id, _)| *id == flight).unwrap_or_else(|| {
            self.gates.push((flight, Gate::new()));
            self.gates.len() - 1
        });
        &self.gates[at].1
    }

    /// Takes from the effects what has to do with gates. Says whether watchers are to be told.
    fn prepare(&mut self, chores: &mut Chores) -> bool {
        for (flight, outcome) in chores.effects.land.drain(..) {
            if let Some(at) = self.gates.iter().position(|(id, _)| *id == flight) {
                chores.open.push((self.gates.swap_remove(at).1, outcome));
            }
        }
        if let Some((ticket, cx)) = chores.effects.start.take() {
            let gate = self.gate(ticket.id).clone();
            chores.start = Some((ticket, cx, gate));
        }
        let is_change = |event: &Event| !matches!(event.kind, EventKind::RefreshJoined { .. });
        let tells = chores.effects.tell || chores.effects.events.iter().any(is_change);
        self.version += u64::from(tells);
        tells
    }
}

// === impl Place ===

impl Place {
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The machine knows that a save failed, and not why.
fn name_cause(fx: &mut Effects, failed: Option<&HookFailed>) {
    for event in &mut fx.events {
        if let EventKind::TokenSaveFailed { error } = &mut event.kind {
            *error = failed.and_then(|failed| failed.0.clone());
        }
    }
}

pub(super) fn nanos_left(deadline: Nanos, now: Timestamp) -> Duration {
    crate::rt::duration(deadline.saturating_sub(now.monotonic))
}
