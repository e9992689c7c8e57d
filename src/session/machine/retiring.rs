//! Ending a session that can be loaded again.

use super::turn::{Changed, Machine};

// === impl Machine ===

#[cfg_attr(not(feature = "sessions"), expect(dead_code, reason = "for maps of sessions"))]
impl Machine {
    /// Ends the session if it is at rest and nothing is lost by that. Returns whether it did.
    pub(crate) fn try_retire(&mut self) -> bool {
        let is_at_rest =
            self.flights.current.is_none() && self.saves.running().is_none() && self.revocations.is_none();
        let can_retire = is_at_rest && self.can_be_loaded_again();
        self.shutting_down |= can_retire;
        can_retire
    }

    /// Whether loading the session again would restore what this one holds.
    fn can_be_loaded_again(&self) -> bool {
        let grant = self.grant.as_ref();
        if grant.is_some_and(|grant| grant.outcome_unknown) {
            // Another session wouldn't know that its first refresh is a repeat.
            return false;
        }
        if self.persistence.saves() {
            return !self.is_unsaved();
        }
        match self.changed {
            None => true,
            // A token without a refresh token can be obtained again.
            Some(Changed::ByRefresh) => grant.is_none_or(|grant| grant.refresh_token.is_none()),
            Some(Changed::ByUser) => false,
        }
    }
}
