//! The built-in server's tokens, and its rules.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use crate::{api::Pair, jwt};

/// All issued tokens. Refresh tokens rotate: each can be used once (RFC 9700 §4.14.2).
pub(crate) struct Grants {
    revoke_on_reuse: bool,
    access: HashMap<String, Issued>,
    refresh: HashMap<String, GrantId>,
    used: HashMap<String, GrantId>,
    revoked: HashSet<GrantId>,
    last: GrantId,
}

/// The result of a refresh.
pub(crate) enum Exchange {
    /// The refresh token was valid, and is used now.
    Granted(Pair),
    /// The refresh token was used before, or is unknown.
    Refused,
    /// The refresh token was used before, so the whole grant is revoked.
    GrantRevoked,
}

/// One sign-in, with all tokens that were issued for it since.
type GrantId = u64;

struct Issued {
    grant: GrantId,
    expires_at: Duration,
}

/// A sign-in's access token expires soon, as the example waits for that. It takes up to a second longer, as
/// `exp` is in whole seconds.
const FIRST_LIFETIME: Duration = Duration::from_millis(500);
/// An access token from a refresh outlasts the example, even on a slow machine.
const LIFETIME: Duration = Duration::from_secs(300);
const REFRESH_LIFETIME: Duration = Duration::from_secs(86_400);

// === impl Grants ===

impl Grants {
    pub(crate) fn new(revoke_on_reuse: bool) -> Self {
        Self {
            revoke_on_reuse,
            access: HashMap::new(),
            refresh: HashMap::new(),
            used: HashMap::new(),
            revoked: HashSet::new(),
            last: 0,
        }
    }

    pub(crate) fn sign_in(&mut self) -> Pair {
        self.last += 1;
        self.issue(self.last, FIRST_LIFETIME)
    }

    pub(crate) fn exchange(&mut self, refresh: &str) -> Exchange {
        if let Some(grant) = self.refresh.remove(refresh) {
            self.used.insert(refresh.to_owned(), grant);
            if !self.revoked.contains(&grant) {
                return Exchange::Granted(self.issue(grant, LIFETIME));
            }
        }
        match self.used.get(refresh) {
            Some(grant) if self.revoke_on_reuse => {
                self.revoked.insert(*grant);
                Exchange::GrantRevoked
            }
            _ => Exchange::Refused,
        }
    }

    pub(crate) fn accepts(&self, access: &str) -> bool {
        let issued = self.access.get(access);
        issued.is_some_and(|issued| now() < issued.expires_at && !self.revoked.contains(&issued.grant))
    }

    /// Revokes an access token before it expires. Its refresh token stays valid.
    pub(crate) fn revoke(&mut self, access: &str) {
        self.access.remove(access);
    }

    fn issue(&mut self, grant: GrantId, lifetime: Duration) -> Pair {
        let expires_at = whole_seconds(now() + lifetime);
        let refresh = jwt::issue(whole_seconds(now() + REFRESH_LIFETIME));
        let pair = Pair { access: jwt::issue(expires_at), refresh };
        self.access.insert(pair.access.clone(), Issued { grant, expires_at });
        self.refresh.insert(pair.refresh.clone(), grant);
        pair
    }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Rounds up.
fn whole_seconds(instant: Duration) -> Duration {
    Duration::from_secs(instant.as_secs() + u64::from(instant.subsec_nanos() > 0))
}
