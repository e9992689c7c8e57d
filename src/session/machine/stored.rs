//! What a store tells the session: what other processes did.

use crate::{
    error::{Error, ErrorKind},
    event::EventKind,
    token::Token,
};

use super::{
    grant::Grant,
    saves::Change,
    turn::{Machine, Turn},
};

// === impl Machine ===

impl Machine {
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
    /// Takes a newer token of the same sign-in. Not while a refresh is in flight, which looks for it itself:
    /// returns whether it was taken.
    pub(crate) fn adopt_stored(&mut self, token: Token) -> bool {
        self.advance();
        if self.machine.flights.current.is_some() || self.machine.grant.is_none() {
            return false;
        }
        self.forget_end();
        if let Some(grant) = &mut self.machine.grant {
            grant.set_refresh_token(token.refresh_secret().cloned(), token.receipt(self.now));
            grant.outcome_unknown = false;
            grant.backoff = super::backoff::Backoff::default();
        }
        self.adopt(token);
        self.effects.publish = true;
        self.emit(EventKind::TokenAdopted);
        self.changed();
        self.wake_backoff_waiters();
        true
    }

    /// Sets a token that is in the store already.
    pub(crate) fn set_stored(&mut self, token: Token) {
        if self.set_unsaved(token).is_ok() {
            self.changed();
            self.wake_backoff_waiters();
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
