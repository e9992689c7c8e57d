//! Whether what the session holds is saved, and the save in progress.

use crate::{
    rt::{Nanos, Timestamp},
    token::{Secret, Token},
};

use super::backoff::{Delays, Timespan};

/// The state of saving. It outlives a sign-out, which is saved, too.
#[derive(Default)]
pub(super) struct Saves {
    /// The session holds something that the hook hasn't saved.
    is_unsaved: bool,
    /// What the user's calls have changed since the last save. A store needs to know; a hook doesn't.
    change: Option<Box<Change>>,
    changes: u64,
    sign_ins: u64,
    running: Option<Box<RunningSave>>,
    begun: u64,
    failed: Option<Box<FailedSave>>,
}

/// One call of the save hook.
pub(super) struct RunningSave {
    pub(super) id: u64,
    started: Timestamp,
    /// The generation of what is being saved.
    pub(super) generation: u64,
    /// `Some`: a flight saves its response before it lands.
    pub(super) flight: Option<FlightSave>,
    /// What the session holds has changed since.
    is_overtaken: bool,
    change: Option<Box<Change>>,
}

/// What a flight saves.
pub(super) struct FlightSave {
    pub(super) flight: u64,
    pub(super) token: Token,
}

struct FailedSave {
    in_a_row: u32,
    /// `None`: the state has changed since, so its save is due.
    delay: Option<Timespan>,
}

/// What the save hook is to be called with.
#[derive(Clone, Debug)]
pub(crate) struct SaveOrder {
    pub(crate) id: u64,
    /// `None`: erase.
    pub(crate) token: Option<Token>,
    /// `None`: it came from a refresh, or from the store.
    #[cfg_attr(not(feature = "store"), expect(dead_code, reason = "for stores"))]
    pub(crate) change: Option<Box<Change>>,
}

/// What the user's calls have changed, all together.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "store"), expect(dead_code, reason = "for stores"))]
pub(crate) struct Change {
    /// Increases with each change.
    pub(crate) number: u64,
    pub(crate) kind: ChangeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeKind {
    SignedIn,
    SignedOut,
    /// A token was set, perhaps with another refresh token.
    Set {
        refresh_token: Option<Secret>,
    },
}

// === impl Saves ===

impl Saves {
    pub(super) fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// The last save failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn running(&self) -> Option<&RunningSave> {
        self.running.as_deref()
    }

    /// The time until an unsaved state is due to be passed to the hook again. `None`: nothing to do.
    pub(super) fn due_in(&self, now: Timestamp) -> Option<Nanos> {
        let is_waiting = self.is_unsaved && self.running.is_none();
        let delay = self.failed.as_ref().and_then(|failed| failed.delay);
        is_waiting.then(|| delay.map_or(0, |delay| delay.time_left(now).max(0)))
    }

    /// Whether a state waits for its first save. One whose save failed waits for a call instead.
    pub(super) fn has_new_state(&self) -> bool {
        let has_failed = self.failed.as_ref().is_some_and(|failed| failed.delay.is_some());
        self.is_unsaved && self.running.is_none() && !has_failed
    }

    /// Records that what the session holds has changed: it is to be saved at once, or right after the running
    /// save.
    pub(super) fn overtake(&mut self) {
        self.is_unsaved = true;
        if let Some(failed) = &mut self.failed {
            failed.delay = None;
        }
        if let Some(running) = &mut self.running {
            running.is_overtaken = true;
        }
    }

    /// Records what the user has changed.
    pub(super) fn note(&mut self, kind: ChangeKind) {
        self.changes += 1;
        self.sign_ins += u64::from(!matches!(kind, ChangeKind::Set { .. }));
        let change = Box::new(Change { number: self.changes, kind });
        self.change = Some(change.after(self.change.take()));
    }

    /// Forgets what the user has changed, as the store has a later sign-in. Returns the number of the last change.
    #[cfg(feature = "store")]
    pub(super) fn forget_changes(&mut self) -> u64 {
        self.change = None;
        if let Some(running) = &mut self.running {
            running.change = None;
        }
        self.changes
    }

    /// The number of the user's last change.
    #[cfg(feature = "store")]
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// How often the user has signed in or out.
    #[cfg(feature = "store")]
    pub(super) fn sign_ins(&self) -> u64 {
        self.sign_ins
    }

    /// What the user has changed and no save has written yet.
    #[cfg(feature = "store")]
    pub(super) fn unsaved_change(&self) -> Option<Box<Change>> {
        let running = self.running.as_ref().and_then(|running| running.change.clone());
        match self.change.clone() {
            Some(change) => Some(change.after(running)),
            None => running,
        }
    }

    /// Records the beginning of a save.
    pub(super) fn begin(
        &mut self,
        generation: u64,
        token: Option<Token>,
        flight: Option<FlightSave>,
        now: Timestamp,
    ) -> Box<SaveOrder> {
        self.begun += 1;
        self.is_unsaved = true;
        let (id, change) = (self.begun, self.change.take());
        let order = SaveOrder { id, token, change: change.clone() };
        self.running =
            Some(Box::new(RunningSave { id, started: now, generation, flight, is_overtaken: false, change }));
        Box::new(order)
    }

    /// Whether no other save has begun since this one.
    pub(super) fn is_last(&self, id: u64) -> bool {
        self.begun == id
    }

    /// Records the end of the running save. `failed_at`: when it failed, if it did.
    pub(super) fn end(
        &mut self,
        id: u64,
        failed_at: Option<Timestamp>,
        delays: &Delays,
        random: f64,
    ) -> Option<RunningSave> {
        let running = *self.running.take_if(|running| running.id == id)?;
        self.is_unsaved = running.is_overtaken || failed_at.is_some();
        if failed_at.is_some() {
            self.change = match self.change.take() {
                Some(newer) => Some(newer.after(running.change.clone())),
                None => running.change.clone(),
            };
        }
        self.failed = failed_at.map(|from| {
            let in_a_row = self.failed.as_ref().map_or(0, |failed| failed.in_a_row).saturating_add(1);
            let delay = Timespan { from, length: delays.after(in_a_row, false, random) };
            // The state that overtook it is saved next, without a delay.
            Box::new(FailedSave { in_a_row, delay: (!running.is_overtaken).then_some(delay) })
        });
        Some(running)
    }
}

// === impl Change ===

impl Change {
    /// This change and the one before it, as one.
    fn after(mut self: Box<Self>, earlier: Option<Box<Self>>) -> Box<Self> {
        match (&mut self.kind, earlier.map(|earlier| earlier.kind)) {
            (ChangeKind::Set { .. }, Some(ChangeKind::SignedIn)) => self.kind = ChangeKind::SignedIn,
            (ChangeKind::Set { refresh_token: newer @ None }, Some(ChangeKind::Set { refresh_token })) => {
                *newer = refresh_token;
            }
            _ => {}
        }
        self
    }
}

// === impl RunningSave ===

impl RunningSave {
    pub(super) fn is_of(&self, flight: u64) -> bool {
        self.flight.as_ref().is_some_and(|save| save.flight == flight)
    }

    /// What is left of its timeout, which is a timer.
    pub(super) fn time_left(&self, timeout: Nanos, now: Timestamp) -> Nanos {
        timeout.saturating_sub(now.monotonic.saturating_sub(self.started.monotonic))
    }

    /// The end of its timeout.
    pub(super) fn deadline(&self, timeout: Nanos) -> Timestamp {
        let after = |from: Nanos| from.saturating_add(timeout);
        Timestamp { wall: after(self.started.wall), monotonic: after(self.started.monotonic) }
    }
}
