//! What the built-in server knows of its tokens, and its rules.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use crate::{api::Pair, jwt};

/// All that was issued. Refresh tokens rotate: each is spent by its first use (RFC 9700 §4.14.2).
pub(crate) struct Grants {
    revoke_family: bool,
    access: HashMap<String, Issued>,
    refresh: HashMap<String, Family>,
    spent: HashMap<String, Family>,
    revoked: HashSet<Family>,
    families: Family,
}

/// What became of a refresh token that was presented.
pub(crate) enum Verdict {
    /// It is spent now, and this is what it bought.
    Exchanged(Pair),
    /// It had been spent before, or is unknown.
    Refused,
    /// It had been spent before, so all that came of it is dead, too.
    FamilyRevoked,
}

/// A sign-in, with all tokens that came of it.
type Family = u64;

struct Issued {
    family: Family,
    end: Duration,
}

/// A sign-in's access token ends soon, as its end is what the example waits for; up to a second later, as `exp` is
/// in whole seconds.
const FIRST_LIFE: Duration = Duration::from_millis(500);
/// One that a refresh brought outlasts the example, on a slow machine, too.
const LIFE: Duration = Duration::from_secs(300);
const REFRESH_LIFE: Duration = Duration::from_secs(86_400);

// === impl Grants ===

impl Grants {
    pub(crate) fn new(revoke_family: bool) -> Self {
        Self {
            revoke_family,
            access: HashMap::new(),
            refresh: HashMap::new(),
            spent: HashMap::new(),
            revoked: HashSet::new(),
            families: 0,
        }
    }

    pub(crate) fn sign_in(&mut self) -> Pair {
        self.families += 1;
        self.issue(self.families, FIRST_LIFE)
    }

    pub(crate) fn exchange(&mut self, refresh: &str) -> Verdict {
        if let Some(family) = self.refresh.remove(refresh) {
            self.spent.insert(refresh.to_owned(), family);
            if !self.revoked.contains(&family) {
                return Verdict::Exchanged(self.issue(family, LIFE));
            }
        }
        match self.spent.get(refresh) {
            Some(family) if self.revoke_family => {
                self.revoked.insert(*family);
                Verdict::FamilyRevoked
            }
            _ => Verdict::Refused,
        }
    }

    pub(crate) fn accepts(&self, access: &str) -> bool {
        self.access.get(access).is_some_and(|it| now() < it.end && !self.revoked.contains(&it.family))
    }

    /// An access token is dead before its time; its refresh token is good.
    pub(crate) fn revoke(&mut self, access: &str) {
        self.access.remove(access);
    }

    fn issue(&mut self, family: Family, life: Duration) -> Pair {
        let end = whole_seconds(now() + life);
        let pair = Pair { access: jwt::issue(end), refresh: jwt::issue(whole_seconds(now() + REFRESH_LIFE)) };
        self.access.insert(pair.access.clone(), Issued { family, end });
        self.refresh.insert(pair.refresh.clone(), family);
        pair
    }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn whole_seconds(instant: Duration) -> Duration {
    Duration::from_secs(instant.as_secs() + u64::from(instant.subsec_nanos() > 0))
}
