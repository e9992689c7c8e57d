//! What is still to be saved, and the one save that runs.

use crate::{rt::Timestamp, token::Token};

use super::backoff::{Delays, Span};

#[derive(Default)]
pub(super) struct Saves {
    unsaved: Option<Unsaved>,
    running: Option<Running>,
    /// When the save that runs began.
    began: Option<Timestamp>,
    last: u64,
}

struct Unsaved {
    version: u64,
    token: Token,
    failures: u32,
    delay: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    /// A flight hands over its own token.
    Flight,
    /// What could not be saved before is handed over again.
    Again(u64),
}

/// A token to be handed to the save hook outside a flight.
#[derive(Clone)]
pub(crate) struct SaveOrder {
    pub(crate) version: u64,
    pub(crate) token: Token,
}

// === impl Saves ===

impl Saves {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved.is_some() || self.running == Some(Running::Flight)
    }

    pub(super) fn is_pending(&self) -> bool {
        self.unsaved.is_some()
    }

    /// How long until something is to be handed over; None: nothing is.
    pub(super) fn due_in(&self, now: Timestamp) -> Option<i64> {
        let unsaved = self.unsaved.as_ref().filter(|_| self.running.is_none())?;
        Some(unsaved.delay.map_or(0, |delay| delay.left(now).max(0)))
    }

    /// Gives up a save outside a flight that is past its limit: perhaps nobody drives its runtime any more.
    pub(super) fn give_up_overdue(&mut self, now: Timestamp, limit: i64, delays: &Delays) {
        let overdue = self.began.is_some_and(|began| now.since(began) >= limit);
        if let (Some(Running::Again(version)), true) = (self.running, overdue) {
            self.end_again(version, false, now, delays, 0.5);
        }
    }

    /// A flight's token supersedes what was not saved before.
    pub(super) fn begin_in_flight(&mut self) {
        self.unsaved = None;
        self.running = Some(Running::Flight);
    }

    pub(super) fn end_in_flight(&mut self) {
        if self.running == Some(Running::Flight) {
            self.running = None;
        }
    }

    /// Marks a token to be saved: at once, or after the first delay if a save has just failed.
    pub(super) fn mark(&mut self, token: Token, failed: Option<(Timestamp, &Delays, f64)>) {
        self.last += 1;
        let delay = failed.map(|(now, delays, luck)| Span { from: now, length: delays.after(1, luck) });
        let failures = u32::from(failed.is_some());
        self.unsaved = Some(Unsaved { version: self.last, token, failures, delay });
    }

    /// Another access token takes the place of the one that is not saved.
    pub(super) fn replace(&mut self, token: &Token) {
        if let Some(unsaved) = &mut self.unsaved {
            self.last += 1;
            unsaved.version = self.last;
            unsaved.token = token.clone();
        }
    }

    pub(super) fn forget(&mut self) -> Option<Token> {
        self.unsaved.take().map(|unsaved| unsaved.token)
    }

    /// Hands over what is due; `hurry` ignores the delay.
    pub(super) fn hand_over(&mut self, now: Timestamp, hurry: bool) -> Option<SaveOrder> {
        if !hurry && self.due_in(now)? > 0 || self.running.is_some() {
            return None;
        }
        let unsaved = self.unsaved.as_ref()?;
        self.running = Some(Running::Again(unsaved.version));
        self.began = Some(now);
        Some(SaveOrder { version: unsaved.version, token: unsaved.token.clone() })
    }

    /// A save outside a flight has ended.
    pub(super) fn end_again(&mut self, version: u64, ok: bool, now: Timestamp, delays: &Delays, luck: f64) {
        if self.running != Some(Running::Again(version)) {
            return;
        }
        self.running = None;
        let Some(unsaved) = &mut self.unsaved else { return };
        if ok && unsaved.version == version {
            self.unsaved = None;
        } else if !ok {
            unsaved.failures += 1;
            unsaved.delay = Some(Span { from: now, length: delays.after(unsaved.failures, luck) });
        }
    }
}
