//! Sessions over a store, and a token endpoint that counts.

use std::{
    error::Error as StdError,
    iter::successors,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_reauth::{
    RefreshError, Session, Token, refresh_fn,
    store::{SharedSession, SharedStore, TokenStore},
};

/// Accepts each refresh token once. Of `R-alice-1` it makes `A-alice-2` and `R-alice-2`.
#[derive(Clone, Default)]
pub(crate) struct Endpoint {
    presented: Arc<Mutex<Vec<String>>>,
    at_next_exchange: Arc<Mutex<Option<Action>>>,
}

type Action = Box<dyn FnOnce() + Send>;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// How long to wait before something that can't be awaited is looked at again.
pub(crate) const SOON: Duration = Duration::from_millis(20);
/// Only a hang takes longer.
pub(crate) const HANG: Duration = Duration::from_secs(120);

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn presented(&self) -> Vec<String> {
        self.presented.lock().unwrap().clone()
    }

    /// Does this when a refresh token is presented next, before the response.
    pub(crate) fn at_next_exchange(&self, action: impl FnOnce() + Send + 'static) {
        *self.at_next_exchange.lock().unwrap() = Some(Box::new(action));
    }

    /// A session that looks so often if it follows.
    pub(crate) fn session(&self, store: impl TokenStore, poll: Duration) -> SharedSession {
        self.session_over(SharedStore::new(store), poll)
    }

    pub(crate) fn session_over<S: TokenStore>(&self, store: SharedStore<S>, poll: Duration) -> SharedSession {
        let endpoint = self.clone();
        let refresher = refresh_fn(move |cx| {
            let token = endpoint.exchange(cx.refresh_token().unwrap_or_default());
            async move { token }
        });
        let store = store.test_times(Duration::from_secs(4), poll);
        Session::builder(refresher).refresh_early(false).build_shared(store)
    }

    fn exchange(&self, refresh_token: &str) -> Result<Token, RefreshError> {
        if refresh_token.is_empty() {
            return Err(RefreshError::grant_ended("there is no refresh token"));
        }
        if let Some(action) = self.at_next_exchange.lock().unwrap().take() {
            action();
        }
        let mut presented = self.presented.lock().unwrap();
        let is_spent = presented.iter().any(|spent| spent == refresh_token);
        presented.push(refresh_token.to_owned());
        let (user, number) = refresh_token[2..].split_once('-').unwrap();
        match is_spent {
            true => Err(RefreshError::grant_ended("presented before")),
            false => Ok(token(user, number.parse::<u32>().unwrap() + 1)),
        }
    }
}

pub(crate) fn token(user: &str, number: u32) -> Token {
    let token = Token::builder(format!("A-{user}-{number}")).refresh_token(format!("R-{user}-{number}"));
    token.expires_in(HOUR).build().unwrap()
}

pub(crate) fn access(session: &SharedSession) -> Option<String> {
    session.session().try_token().map(|token| token.secret().to_owned())
}

/// Waits until the session has this access token, or none.
pub(crate) async fn has(session: &SharedSession, expected: Option<&str>) {
    let mut watch = session.session().watch();
    let wait = async {
        while access(session).as_deref() != expected {
            watch.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(HANG, wait).await.is_err() {
        panic!("expected {expected:?}, has {:?}", access(session));
    }
}

/// An error with its sources, as texts.
pub(crate) fn describe(error: &(dyn StdError + 'static)) -> String {
    let chain: Vec<_> = successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    chain.join(": ")
}

/// A name that no other test uses.
pub(crate) fn name() -> String {
    format!("test-{:016x}", rand())
}

fn rand() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
