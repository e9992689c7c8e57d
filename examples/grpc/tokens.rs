//! The authority: it issues tokens that live for a short time, and revokes them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tower_reauth::{RefreshContext, RefreshError, Refresher, Token};

use crate::BoxError;

/// All clones are one authority.
#[derive(Clone, Default)]
pub(crate) struct Authority {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    issued: u32,
    refreshes: u32,
    refused: u32,
    /// The one that has not been spent.
    refresh_token: String,
    /// Access tokens, and when each ends.
    ends: HashMap<String, Instant>,
}

/// So long lives an access token.
const LIFE: Duration = Duration::from_millis(1500);

// === impl Authority ===

impl Authority {
    /// A user signs in.
    pub(crate) fn sign_in(&self) -> Result<Token, BoxError> {
        Ok(self.lock().issue()?)
    }

    /// Whether a call may be made with what stands in its `authorization`.
    pub(crate) fn accepts(&self, authorization: Option<&str>) -> bool {
        let mut state = self.lock();
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let end = token.and_then(|token| state.ends.get(token));
        let accepted = end.is_some_and(|end| Instant::now() < *end);
        state.refused += u32::from(!accepted);
        accepted
    }

    /// All access tokens end now; the grant doesn't.
    pub(crate) fn revoke(&self) {
        self.lock().ends.clear();
    }

    /// When the newest access token ends, or ended.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.lock().ends.values().max().copied()
    }

    pub(crate) fn refreshes(&self) -> u32 {
        self.lock().refreshes
    }

    /// Calls that it didn't accept.
    pub(crate) fn refused(&self) -> u32 {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each refresh token is spent by its first use.
impl Refresher for Authority {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let mut state = self.lock();
        if cx.refresh_token() != Some(state.refresh_token.as_str()) {
            return Err(RefreshError::grant_ended("that refresh token was spent"));
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
        self.ends.insert(access_token.clone(), Instant::now() + LIFE);
        Token::builder(access_token).refresh_token(&self.refresh_token).expires_in(LIFE).build()
    }
}
