//! Where the gateway keeps its users' tokens.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tower_reauth::Token;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UserId(pub(crate) Arc<str>);

#[derive(Default)]
pub(crate) struct Database {
    tokens: Mutex<HashMap<UserId, Token>>,
    loads: AtomicUsize,
}

// === impl Database ===

impl Database {
    pub(crate) fn load(&self, user: &UserId) -> Option<Token> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.lock().get(user).cloned()
    }

    /// `None`: the user has signed out.
    pub(crate) fn save(&self, user: &UserId, token: Option<Token>) {
        match token {
            Some(token) => self.lock().insert(user.clone(), token),
            None => self.lock().remove(user),
        };
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
