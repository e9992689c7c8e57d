//! The upstream's users, its rules for their tokens, and its counts.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use http::StatusCode;
use tower_reauth::Token;

#[derive(Default)]
pub(crate) struct Accounts {
    by_user: HashMap<String, Account>,
    /// Who each token was issued to: all that ever were.
    owners: HashMap<String, String>,
    expiries: usize,
    pub(crate) counts: Counts,
}

#[derive(Default)]
struct Account {
    access: String,
    refresh: String,
    /// The number of expiries before the access token was issued.
    issued_after: usize,
    is_revoked: bool,
    /// Those whose call was accepted.
    callers: HashSet<String>,
}

#[derive(Default)]
pub(crate) struct Counts {
    refreshes: usize,
    /// Refreshes with a used refresh token. Each revokes the user's grant.
    refused: usize,
    pub(crate) most_refreshes_at_once: usize,
    accepted: usize,
    /// Calls without the user's current access token.
    rejected: usize,
    /// Calls with another user's token.
    mixed_up: usize,
}

/// The last line of a run.
pub(crate) struct Totals {
    users: usize,
    callers: usize,
    expiries: usize,
    refreshes: usize,
    pub(crate) refused: usize,
    failed: usize,
}

// === impl Accounts ===

impl Accounts {
    pub(crate) fn sign_in(&mut self, user: &str) -> Token {
        let (access, refresh) = self.issue(user);
        Token::builder(access).refresh_token(refresh).build().expect("visible ASCII")
    }

    /// Expires the access tokens of all users.
    pub(crate) fn expire_all(&mut self) {
        self.expiries += 1;
    }

    /// Exchanges a refresh token for an access token and the next refresh token. `None`: it is refused.
    pub(crate) fn refresh(&mut self, refresh: &str) -> Option<(String, String)> {
        self.counts.refreshes += 1;
        let user = self.owners.get(refresh).cloned().unwrap_or_default();
        let account = self.by_user.entry(user.clone()).or_default();
        if account.is_revoked || account.refresh != refresh {
            account.is_revoked = true;
            self.counts.refused += 1;
            return None;
        }
        Some(self.issue(&user))
    }

    /// Checks a call of a user's caller.
    pub(crate) fn call(&mut self, user: &str, caller: &str, access: &str) -> StatusCode {
        if self.owners.get(access).is_some_and(|owner| owner != user) {
            self.counts.mixed_up += 1;
            return StatusCode::FORBIDDEN;
        }
        let Some(account) = self.by_user.get_mut(user) else { return StatusCode::NOT_FOUND };
        if account.is_revoked || account.access != access || account.issued_after != self.expiries {
            self.counts.rejected += 1;
            return StatusCode::UNAUTHORIZED;
        }
        self.counts.accepted += 1;
        account.callers.insert(caller.to_owned());
        StatusCode::OK
    }

    /// `calls`: how many were made.
    pub(crate) fn totals(&self, calls: usize) -> Totals {
        let callers = || self.by_user.values().map(|account| account.callers.len());
        Totals {
            users: callers().filter(|callers| *callers > 0).count(),
            callers: callers().sum(),
            expiries: self.expiries,
            refreshes: self.counts.refreshes,
            refused: self.counts.refused,
            failed: calls - self.counts.accepted,
        }
    }

    fn issue(&mut self, user: &str) -> (String, String) {
        let [access, refresh] =
            ["access", "refresh"].map(|kind| format!("{kind}-{:032x}", fastrand::u128(..)));
        for token in [&access, &refresh] {
            self.owners.insert(token.clone(), user.to_owned());
        }
        let account = self.by_user.entry(user.to_owned()).or_default();
        (account.access, account.refresh) = (access.clone(), refresh.clone());
        account.issued_after = self.expiries;
        (access, refresh)
    }
}

// === impl Counts ===

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, rejected, mixed_up, most_refreshes_at_once, .. } = self;
        write!(
            f,
            "accepted={accepted} rejected={rejected} mixed_up={mixed_up} refreshes_at_once={most_refreshes_at_once}"
        )
    }
}

// === impl Totals ===

impl Totals {
    /// Whether each expiry took one refresh of each user, and all calls succeeded.
    pub(crate) fn is_one_refresh_each(&self) -> bool {
        self.refreshes == self.users * self.expiries && self.refused == 0 && self.failed == 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { users, callers, expiries, refreshes, refused, failed } = self;
        write!(
            f,
            "users={users} callers={callers} expiries={expiries} refreshes={refreshes} refused={refused} failed={failed}"
        )
    }
}
