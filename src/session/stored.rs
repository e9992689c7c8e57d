//! What a store needs of the session whose token it keeps.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

#[cfg(feature = "metrics")]
use crate::metrics::Recorder;
use crate::{
    error::Error,
    event::EventKind,
    refresh::AnyRefresher,
    rt::{Clock, duration},
    token::Token,
};

use super::{
    Session,
    builder::{InitialToken, SessionBuilder},
    machine::{Change, Persistence, SaveOrder, Turn},
    shared::{Hook, Shared},
};

/// What the builder of a shared session has for the store.
pub(crate) struct StoreParts {
    pub(crate) refresher: AnyRefresher,
    pub(crate) initial: InitialToken,
    pub(crate) save: Option<Hook<SaveOrder>>,
    pub(crate) save_timeout: Duration,
    pub(crate) refresh_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) name: Option<Arc<str>>,
}

/// A session that its store doesn't keep alive.
#[derive(Clone)]
pub(crate) struct SessionLink(Weak<Shared>);

// === impl SessionBuilder ===

impl SessionBuilder {
    /// What the store takes over. The session starts without a token.
    pub(crate) fn take_store_parts(&mut self) -> StoreParts {
        StoreParts {
            refresher: self.refresher.clone(),
            initial: std::mem::replace(&mut self.initial, InitialToken::None),
            save: self.save_hook.take(),
            save_timeout: duration(self.rules.save_timeout),
            refresh_timeout: duration(self.rules.refresh_timeout),
            clock: Arc::clone(&self.settings.clock),
            name: self.name.clone(),
        }
    }

    /// Builds a session whose token is in a store. `save_timeout` includes the store's part.
    pub(crate) fn build_on_store(
        mut self,
        refresher: AnyRefresher,
        save: Hook<SaveOrder>,
        save_timeout: Duration,
    ) -> Session {
        self.refresher = refresher;
        self.save_hook = Some(save);
        self.persistence = Persistence::Store;
        self.save_timeout(save_timeout).build()
    }
}

// === impl Session ===

impl Session {
    pub(crate) fn link(&self) -> SessionLink {
        SessionLink(Arc::downgrade(&self.shared))
    }
}

// === impl SessionLink ===

impl SessionLink {
    /// What the user has changed, if the store lacks it, and what the session holds now.
    pub(crate) fn unsaved_change(&self) -> Option<(Box<Change>, Option<Token>)> {
        self.0.upgrade()?.lock().machine.unsaved_change()
    }

    /// Returns whether the session took it: not if the user has made a change since there were `changes`.
    pub(crate) fn adopt(&self, token: Token, changes: u64) -> bool {
        self.take(token, |turn, token| turn.adopt_stored(token, changes)).unwrap_or_default()
    }

    /// The number of the user's last change.
    pub(crate) fn changes(&self) -> u64 {
        self.0.upgrade().map_or(0, |shared| shared.lock().machine.changes())
    }

    /// The store has no sign-in.
    pub(crate) fn find_signed_out(&self, sign_ins: u64) {
        self.turn(|turn| turn.find_signed_out(sign_ins));
    }

    /// Sets a token that is in the store already. Returns whether the session could take it.
    pub(crate) fn set(&self, token: Token) -> bool {
        self.take(token, |turn, token| turn.set_stored(token)).unwrap_or_default()
    }

    /// `None`: only the refresh token is known, to the store.
    ///
    /// Returns the number of the last change that the user has made before.
    pub(crate) fn follow_sign_in(&self, token: Option<Token>) -> u64 {
        match token {
            Some(token) => self.take(token, |turn, token| turn.follow_sign_in(Some(token))),
            None => self.turn(|turn| turn.follow_sign_in(None)),
        }
        .unwrap_or_default()
    }

    /// As [`follow_sign_in`](Self::follow_sign_in).
    pub(crate) fn follow_sign_out(&self, erases: bool) -> u64 {
        self.turn(|turn| turn.follow_sign_out(erases)).unwrap_or_default()
    }

    /// After a sign-out here: calls don't look whether another process has signed in.
    pub(crate) fn stay_signed_out(&self) {
        self.turn(|turn| turn.stay_signed_out());
    }

    /// How often the user has signed in or out, other than by the store.
    pub(crate) fn sign_ins(&self) -> u64 {
        self.0.upgrade().map_or(0, |shared| shared.lock().machine.sign_ins())
    }

    pub(crate) fn revoke(&self, token: Token) {
        self.turn(|turn| turn.revoke_token(token));
    }

    pub(crate) fn emit_store_failure(&self, error: Error) {
        self.turn(|turn| turn.emit(EventKind::StoreFailed { error }));
    }

    pub(crate) fn emit_claim_lost(&self) {
        self.turn(|turn| turn.emit(EventKind::ClaimLost));
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn recorder(&self) -> Option<Recorder> {
        Some(self.0.upgrade()?.recorder())
    }

    /// A step with a token that the session may send.
    fn take<T>(&self, mut token: Token, step: impl FnOnce(&mut Turn<'_>, Token) -> T) -> Option<T> {
        let shared = self.0.upgrade()?;
        shared.settings.headers.add_to(&mut token);
        Some(shared.turn(|turn| step(turn, token)))
    }

    fn turn<T>(&self, step: impl FnOnce(&mut Turn<'_>) -> T) -> Option<T> {
        Some(self.0.upgrade()?.turn(step))
    }
}
