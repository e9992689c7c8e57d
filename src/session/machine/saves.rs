//! The unsaved token, and the save in progress.

use crate::{rt::Timestamp, token::Token};

use super::backoff::{Delays, Timespan};

/// The token that a sign-in still has to save.
#[derive(Default)]
pub(super) struct Saves {
    unsaved: Option<Box<Unsaved>>,
}

struct Unsaved {
    version: u64,
    token: Token,
    failures: u32,
    delay: Option<Timespan>,
}

/// The save in progress. It outlives a sign-out.
#[derive(Clone, Copy)]
pub(super) enum RunningSave {
    /// A flight saves its own response.
    Flight,
    /// An unsaved token is passed to the hook again.
    Retry { version: u64, generation: u64, started: Timestamp },
}

/// A token to be passed to the save hook outside a flight.
#[derive(Clone)]
pub(crate) struct SaveOrder {
    pub(crate) version: u64,
    pub(crate) token: Token,
}

// === impl Saves ===

impl Saves {
    pub(super) fn is_pending(&self) -> bool {
        self.unsaved.is_some()
    }

    /// The time until the next save is due. `None`: nothing is unsaved.
    pub(super) fn due_in(&self, now: Timestamp) -> Option<i64> {
        let unsaved = self.unsaved.as_ref()?;
        Some(unsaved.delay.map_or(0, |delay| delay.time_left(now).max(0)))
    }

    /// Marks a token to be saved at once, or after the first delay if a save has just failed.
    pub(super) fn mark(&mut self, version: u64, token: Token, failed: Option<(Timestamp, &Delays, f64)>) {
        let delay =
            failed.map(|(now, delays, random)| Timespan { from: now, length: delays.after(1, random) });
        let failures = u32::from(failed.is_some());
        self.unsaved = Some(Box::new(Unsaved { version, token, failures, delay }));
    }

    /// Replaces the unsaved token with another access token.
    pub(super) fn replace(&mut self, version: u64, token: &Token) {
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.version = version;
            unsaved.token = token.clone();
        }
    }

    pub(super) fn forget(&mut self) {
        self.unsaved = None;
    }

    pub(super) fn order(&self) -> Option<SaveOrder> {
        let Unsaved { version, token, .. } = self.unsaved.as_deref()?;
        Some(SaveOrder { version: *version, token: token.clone() })
    }

    /// Handles the end of a save outside a flight.
    pub(super) fn ended(&mut self, version: u64, ok: bool, now: Timestamp, delays: &Delays, random: f64) {
        let Some(unsaved) = &mut self.unsaved else { return };
        if ok && unsaved.version == version {
            self.unsaved = None;
        } else if !ok {
            unsaved.failures += 1;
            unsaved.delay = Some(Timespan { from: now, length: delays.after(unsaved.failures, random) });
        }
    }
}
