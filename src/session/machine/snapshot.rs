//! What callers read without the lock.

use crate::{
    rt::{Nanos, Timestamp},
    token::AccessToken,
};

use super::{held::Phase, turn::Machine};

/// A token, and until when it can be used without asking the machine again.
pub(crate) struct Snapshot {
    pub(crate) token: AccessToken,
    pub(crate) taken_at: Timestamp,
    pub(crate) valid_until: Timestamp,
    /// What was left of the token when it was taken.
    left: Nanos,
    /// The refresher itself must not use it.
    pub(crate) stale: bool,
}

// === impl Snapshot ===

impl Snapshot {
    /// What is left of the token, by the clock that is ahead.
    pub(crate) fn time_left(&self, now: Timestamp) -> Nanos {
        self.left.saturating_sub(now.since(self.taken_at))
    }
}

// === impl Machine ===

impl Machine {
    /// The token that callers may use without the lock, and for how long.
    pub(crate) fn snapshot(&self, now: Timestamp) -> Option<Snapshot> {
        let grant = self.grant.as_ref()?;
        let held = grant.held.as_ref()?;
        let (stale, mut length) = match held.phase(now) {
            Phase::Fresh => (false, held.time_until_stale(now)),
            Phase::Stale if grant.ended.is_some() || self.shutting_down => (true, held.time_left(now)),
            Phase::Stale => {
                let timeout = self.rules.refresh_timeout;
                // The next call abandons one of another sign-in.
                let current = self.flights.current.as_ref();
                let current = current.filter(|flight| flight.info.epoch.is_same_sign_in(self.epoch));
                let until_overdue = current.map(|flight| flight.info.time_left(timeout, now));
                let until_permitted = until_overdue.or_else(|| grant.backoff.time_left(now))?;
                (true, until_permitted.min(held.time_left(now)))
            }
            Phase::Rejected | Phase::Expired => return None,
        };
        // The next call passes an unsaved state to the hook, and gives up a save that nobody drives.
        let until_save = match self.saves.running() {
            Some(save) => Some(save.time_left(self.rules.save_timeout, now)),
            None => self.saves.due_in(now).map(|due| {
                let flight = self.running_flight(now);
                flight.map_or(due, |flight| due.max(flight.info.time_left(self.rules.refresh_timeout, now)))
            }),
        };
        length = length.min(until_save.unwrap_or(Nanos::MAX));
        if length <= 0 {
            return None;
        }
        let after = |from: Nanos| from.saturating_add(length);
        Some(Snapshot {
            token: grant.access_token(self.token_id())?,
            taken_at: now,
            left: held.time_left(now),
            valid_until: Timestamp { wall: after(now.wall), monotonic: after(now.monotonic) },
            stale,
        })
    }
}
