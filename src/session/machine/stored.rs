//! What a store tells the session: what other processes did.

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    token::Token,
};

use super::{
    grant::Grant,
    held::Held,
    saves::Change,
    turn::{Machine, Turn},
};

// === impl Machine ===

impl Machine {
    /// The number of the user's last change.
    pub(crate) fn changes(&self) -> u64 {
        self.saves.changes()
    }

    /// How often the user has signed in or out.
    pub(crate) fn sign_ins(&self) -> u64 {
        self.saves.sign_ins()
    }

    /// What the user has changed, if the store lacks it, and what the session holds now.
    pub(crate) fn unsaved_change(&self) -> Option<(Box<Change>, Option<Token>)> {
        Some((self.saves.unsaved_change()?, self.held_token().cloned()))
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// Takes a newer token of the same sign-in. Returns whether it was taken: not while a refresh is in flight,
    /// which looks for it itself, and not if the user has made a change since there were `changes`.
    pub(crate) fn adopt_stored(&mut self, token: Token, changes: u64) -> bool {
        self.advance();
        let is_changed =
            self.machine.saves.changes() != changes || self.machine.saves.unsaved_change().is_some();
        if is_changed || self.machine.flights.current.is_some() || self.machine.grant.is_none() {
            return false;
        }
        let recovered = self.machine.grant.as_ref().is_some_and(Grant::is_recovering);
        self.forget_end();
        self.end_failing();
        if let Some(grant) = &mut self.machine.grant {
            grant.set_refresh_token(token.refresh_secret().cloned(), token.receipt(self.now));
            grant.outcome_unknown = false;
            // The count of failures stays: a token that is rejected in its trial counts here, too.
            grant.backoff.reset();
        }
        let random = self.machine.random();
        let held = Held::new(token, self.now, self.now, true, &self.machine.rules, random);
        self.replace(held);
        self.begin_trial();
        self.effects.publish = true;
        self.emit(EventKind::TokenAdopted { recovered });
        self.changed();
        self.wake_backoff_waiters();
        true
    }

    /// Sets a token that is in the store already. Returns whether the session could take it.
    pub(crate) fn set_stored(&mut self, token: Token) -> bool {
        if self.set_unsaved(token).is_err() {
            return false;
        }
        self.changed();
        self.wake_backoff_waiters();
        true
    }

    /// The store has no sign-in. Not if the user has signed in or out since there were `sign_ins`.
    pub(crate) fn find_signed_out(&mut self, sign_ins: u64) {
        if !self.machine.is_signed_out() && self.machine.saves.sign_ins() == sign_ins {
            self.follow_sign_out(false);
        }
    }

    /// The store has another sign-in, with this token. `None`: only its refresh token is known.
    ///
    /// Returns the number of the last change that the user has made before.
    pub(crate) fn follow_sign_in(&mut self, token: Option<Token>) -> u64 {
        let changes = self.machine.saves.forget_changes();
        self.end_sign_in();
        let grant = token.as_ref().map(|token| Grant::of(token, self.now)).unwrap_or_default();
        self.machine.grant = Some(grant);
        if let Some(token) = token {
            self.adopt(token);
        }
        self.emit(EventKind::SignedIn);
        self.changed();
        self.wake_backoff_waiters();
        changes
    }

    /// Another process has signed out. `erases`: the user's own hook is called, too.
    ///
    /// Returns the number of the last change that the user has made before.
    pub(crate) fn follow_sign_out(&mut self, erases: bool) -> u64 {
        let changes = self.machine.saves.forget_changes();
        let was_signed_out = self.machine.is_signed_out();
        self.end_sign_in();
        self.machine.grant =
            Some(Grant { ended: Some(Error::new(ErrorKind::SignedOut)), ..Grant::default() });
        if !was_signed_out {
            self.emit(EventKind::SignedOut);
        }
        if erases && !was_signed_out {
            self.changed();
        }
        self.wake_backoff_waiters();
        changes
    }

    /// After a sign-out here: calls don't look whether another process has signed in.
    pub(crate) fn stay_signed_out(&mut self) {
        if self.machine.is_signed_out() {
            self.effects.drop_later(self.machine.grant.take());
            self.effects.publish = true;
        }
    }
}
