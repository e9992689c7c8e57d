//! The authority: issues short-lived tokens, and revokes them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tower_reauth::{RefreshContext, RefreshError, Refresher, Token};

use crate::BoxError;

/// Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct Authority {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    issued: u32,
    refreshes: u32,
    rejected: u32,
    /// The one refresh token that is valid.
    refresh_token: String,
    /// The expiry of each access token.
    access_tokens: HashMap<String, Instant>,
}

const LIFETIME: Duration = Duration::from_millis(1500);

// === impl Authority ===

impl Authority {
    /// Signs a user in.
    pub(crate) fn sign_in(&self) -> Result<Token, BoxError> {
        Ok(self.lock().issue()?)
    }

    /// Whether a call with this `authorization` is accepted.
    pub(crate) fn accepts(&self, authorization: Option<&str>) -> bool {
        let mut state = self.lock();
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let expires_at = token.and_then(|token| state.access_tokens.get(token));
        let accepted = expires_at.is_some_and(|expires_at| Instant::now() < *expires_at);
        state.rejected += u32::from(!accepted);
        accepted
    }

    /// Revokes all access tokens, but not the grant.
    pub(crate) fn revoke(&self) {
        self.lock().access_tokens.clear();
    }

    /// The expiry of the newest access token.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.lock().access_tokens.values().max().copied()
    }

    pub(crate) fn refreshes(&self) -> u32 {
        self.lock().refreshes
    }

    /// The number of rejected calls.
    pub(crate) fn rejected(&self) -> u32 {
        self.lock().rejected
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each refresh token can be used once.
impl Refresher for Authority {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let mut state = self.lock();
        if cx.refresh_token() != Some(state.refresh_token.as_str()) {
            return Err(RefreshError::grant_ended("the refresh token is invalid or was used before"));
        }
        state.refreshes += 1;
        println!("    refresh {}: {:?}", state.refreshes, cx.reason());
        Ok(state.issue()?)
    }
}

// === impl State ===

impl State {
    fn issue(&mut self) -> Result<Token, tower_reauth::token::InvalidToken> {
        self.issued += 1;
        let access_token = format!("access-{}", self.issued);
        self.refresh_token = format!("refresh-{}", self.issued);
        self.access_tokens.insert(access_token.clone(), Instant::now() + LIFETIME);
        Token::builder(access_token).refresh_token(&self.refresh_token).expires_in(LIFETIME).build()
    }
}
