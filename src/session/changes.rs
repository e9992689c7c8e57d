//! The user's own changes: a token that was obtained elsewhere, a sign-in, a sign-out.

use crate::{
    error::Error,
    token::{RevocableTokens, Token},
};

use super::Session;

// === impl Session ===

impl Session {
    /// Replaces the token with one obtained elsewhere for the same user.
    ///
    /// It is used immediately, isn't overwritten by a refresh in flight, and is saved. Waiting callers are
    /// still served. If it has no refresh token, the session keeps its own. Revives a session whose grant had
    /// ended.
    ///
    /// For another user, call [`sign_in`](Self::sign_in), which makes waiting callers fail. The token is
    /// taken as that of the current user: if someone else may have signed in since it was obtained, check
    /// that first.
    ///
    /// # Errors
    ///
    /// [`is_signed_out`](Error::is_signed_out): only [`sign_in`](Self::sign_in) undoes a sign-out.
    pub fn set_token(&self, mut token: Token) -> Result<(), Error> {
        self.shared.settings.headers.add_to(&mut token);
        self.shared.turn(|turn| turn.set(token))
    }

    /// Signs in as another user.
    ///
    /// Callers waiting for the old token fail with [`is_signed_out`](Error::is_signed_out) and never get the new
    /// one; a token still returned for the old user goes to the revoke hook. The new token is saved.
    ///
    /// If the same user has signed in again, call [`set_token`](Self::set_token) instead: waiting callers are
    /// then served.
    pub fn sign_in(&self, mut token: Token) {
        self.shared.settings.headers.add_to(&mut token);
        self.shared.turn(|turn| turn.sign_in(token));
    }

    /// Signs out: calls fail until the next sign-in.
    ///
    /// Returns the session's tokens, so that they can be revoked. A token that a refresh in flight still
    /// returns goes to the revoke hook. The save hook is called with `None`, to erase the stored token;
    /// [`idle`](Self::idle) waits for that.
    pub fn sign_out(&self) -> RevocableTokens {
        self.shared.turn(|turn| turn.sign_out())
    }
}
