//! Saving: every change of what the session holds is passed to the hook, one save at a time.

use crate::{
    event::{Event, EventKind, HookError},
    rt::Timestamp,
    token::Token,
};

use super::{
    flight::{FlightInfo, Saving},
    saves::{ChangeKind, FlightSave},
    turn::{Changed, Machine, Turn},
};

// === impl Machine ===

impl Machine {
    pub(crate) fn is_unsaved(&self) -> bool {
        self.saves.is_unsaved()
    }

    /// What the hook is to save. `None`: nothing, as a refresh token alone can't be stored.
    fn state_to_save(&self) -> Option<Option<Token>> {
        match &self.grant {
            None => Some(None),
            Some(grant) if grant.is_signed_out() => Some(None),
            Some(grant) => Some(Some(grant.held.as_ref()?.token.clone())),
        }
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// The user has changed what the session holds: saves it.
    pub(super) fn changed_by_user(&mut self, kind: ChangeKind) {
        if self.machine.persistence.is_shared() {
            self.machine.saves.note(kind);
        }
        self.machine.changed = Some(Changed::ByUser);
        self.changed();
    }

    /// What the session holds has changed: saves it.
    pub(super) fn changed(&mut self) {
        self.machine.changed.get_or_insert(Changed::ByRefresh);
        if self.machine.persistence.saves() {
            self.machine.saves.overtake();
            self.save_new_state();
        }
    }

    /// Passes a new state to the hook, if no save is running.
    pub(super) fn save_new_state(&mut self) {
        if self.machine.saves.has_new_state() {
            self.save();
        }
    }

    /// Passes an unsaved state to the hook, if that is due.
    pub(super) fn save_if_due(&mut self) {
        if self.machine.saves.due_in(self.now).is_some_and(|left| left <= 0) {
            self.save();
        }
    }

    /// Passes an unsaved state to the hook, unless a save is running. Returns whether it did.
    pub(super) fn save(&mut self) -> bool {
        if self.machine.saves.due_in(self.now).is_none() || self.is_saved_by_a_flight() {
            return false;
        }
        let Some(token) = self.machine.state_to_save() else { return false };
        let order = self.machine.saves.begin(self.machine.epoch.generation, token, None, self.now);
        self.effects.save = Some(order);
        self.effects.publish = true;
        true
    }

    /// The current flight will save its response, with any change made in the meantime.
    fn is_saved_by_a_flight(&self) -> bool {
        let current = self.machine.running_flight(self.now);
        current.is_some_and(|flight| flight.response.is_some() && self.is_wanted(&flight.info))
    }

    /// Begins the save of a flight's response, which the session doesn't hold yet.
    pub(super) fn save_response(&mut self, flight: &FlightInfo, token: Token, generation: u64) -> Saving {
        let save = FlightSave { flight: flight.id, token: token.clone() };
        Saving::Now(self.machine.saves.begin(generation, Some(token), Some(save), self.now))
    }

    /// Handles the end of a save. Returns what it saved for a flight, if it belongs to one.
    pub(super) fn end_save(
        &mut self,
        id: u64,
        result: Result<(), HookError>,
        ended_at: Timestamp,
    ) -> Option<FlightSave> {
        let random = self.machine.random();
        let failed_at = result.is_err().then_some(ended_at);
        let recovered = self.machine.saves.has_failed();
        let Some(save) = self.machine.saves.end(id, failed_at, &self.machine.rules.delays, random) else {
            // It had been given up, and may have written after a later save.
            self.effects.drop_later(result.err());
            if !self.machine.saves.is_last(id) {
                self.changed();
            }
            return None;
        };
        self.effects.publish = true;
        let kind = match result {
            Ok(()) => EventKind::Saved { recovered },
            Err(error) => EventKind::SaveFailed { error },
        };
        self.effects.events.push(Event { session: None, generation: save.generation, kind });
        save.flight
    }
}
