//! The tokens of an issuer, and what it does with a refresh token that was used before. No I/O.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::rt::{Timestamp, duration, nanos};

/// What an [`Issuer`](super::Issuer) does with a refresh token that was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reuse {
    /// Refuses it and revokes the family: all tokens of the sign-in (RFC 9700 §4.14.2). The default, as it is
    /// the strictest.
    #[default]
    RevokeFamily,
    /// Refuses it. The family survives.
    Refuse,
    /// Returns the same successor while that is unused, and revokes the family after that.
    SameSuccessor,
    /// Returns another successor. Both can be used.
    Fork,
    /// Returns another successor. The earlier one can't be used any more.
    LatestSuccessor,
}

impl Reuse {
    /// All variants.
    pub const ALL: [Self; 5] =
        [Self::RevokeFamily, Self::Refuse, Self::SameSuccessor, Self::Fork, Self::LatestSuccessor];
}

/// The number of a sign-in. All tokens that descend from it have the same number.
pub(super) type Family = u64;

/// What an issuer issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) access: String,
    /// `None`: the one that was presented stays valid.
    pub(super) refresh: Option<String>,
    pub(super) lifetime: Option<Duration>,
}

/// The access token of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    New,
    /// The one that the family got last.
    Same,
    Expired,
}

#[derive(Clone)]
pub(super) struct Rules {
    pub(super) reuse: Reuse,
    /// For how long a used refresh token returns the same successor.
    pub(super) tolerance: Duration,
    /// `None`: not reported, and access tokens never expire by themselves.
    pub(super) lifetime: Option<Duration>,
    pub(super) rotates: bool,
}

pub(super) struct Grants {
    rules: Rules,
    /// In each token, so that no issuer accepts another issuer's tokens.
    issuer: u64,
    issued: u64,
    families: Vec<FamilyState>,
    access: HashMap<String, AccessToken>,
    refresh: HashMap<String, RefreshToken>,
    pub(super) refreshes: usize,
    pub(super) reuses: usize,
    pub(super) refusals: usize,
}

struct FamilyState {
    is_alive: bool,
    scopes: Vec<String>,
    last_access: String,
}

struct AccessToken {
    family: Family,
    /// `None`: it has expired.
    issued_at: Option<Timestamp>,
}

struct RefreshToken {
    family: Family,
    state: State,
}

#[derive(Clone)]
enum State {
    Unused,
    Used { successor: Pair, at: Timestamp },
    Replaced,
}

// === impl Grants ===

impl Grants {
    pub(super) fn new(rules: Rules) -> Self {
        static ISSUERS: AtomicU64 = AtomicU64::new(0);
        Self {
            rules,
            issuer: ISSUERS.fetch_add(1, Ordering::Relaxed) + 1,
            issued: 0,
            families: Vec::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            refreshes: 0,
            reuses: 0,
            refusals: 0,
        }
    }

    pub(super) fn sign_in(&mut self, scopes: Vec<String>, now: Timestamp) -> Pair {
        self.families.push(FamilyState { is_alive: true, scopes, last_access: String::new() });
        let family = self.families.len() as Family;
        let access = self.issue_access(family, Some(now));
        let refresh = format!("R{}", self.suffix(family));
        self.refresh.insert(refresh.clone(), RefreshToken { family, state: State::Unused });
        Pair { access, refresh: Some(refresh), lifetime: self.rules.lifetime }
    }

    /// Another access token for the family of `token`.
    pub(super) fn issue_access_for(&mut self, token: &str, now: Timestamp) -> Option<String> {
        let family = self.family_of(token)?;
        Some(self.issue_access(family, Some(now)))
    }

    fn issue_access(&mut self, family: Family, issued_at: Option<Timestamp>) -> String {
        self.issued += 1;
        let access = format!("A{}", self.suffix(family));
        self.access.insert(access.clone(), AccessToken { family, issued_at });
        if let Some(state) = self.families.get_mut(family as usize - 1) {
            state.last_access.clone_from(&access);
        }
        access
    }

    fn suffix(&self, family: Family) -> String {
        format!("{}-of-{family}-by-{}", self.issued, self.issuer)
    }

    /// `None`: `invalid_grant`.
    pub(super) fn exchange(&mut self, presented: &str, access: Access, now: Timestamp) -> Option<Pair> {
        let pair = self.try_exchange(presented, access, now);
        if pair.is_none() {
            self.refusals += 1;
        }
        pair
    }

    fn try_exchange(&mut self, presented: &str, access: Access, now: Timestamp) -> Option<Pair> {
        let RefreshToken { family, state } = self.refresh.get(presented)?;
        let (family, state) = (*family, state.clone());
        let (successor, at) = match state {
            State::Unused if self.is_alive(family) => {
                return Some(self.rotate(presented, family, access, now));
            }
            State::Unused => return None,
            State::Replaced => {
                self.reuses += 1;
                return None;
            }
            State::Used { successor, at } => (successor, at),
        };
        self.reuses += 1;
        if !self.is_alive(family) {
            return None;
        }
        if now.since(at) < nanos(self.rules.tolerance) {
            return Some(self.repeat(family, successor, now));
        }
        match self.rules.reuse {
            Reuse::Refuse => None,
            Reuse::SameSuccessor if successor.refresh.as_ref().is_some_and(|it| self.is_unused(it)) => {
                Some(self.repeat(family, successor, now))
            }
            Reuse::RevokeFamily | Reuse::SameSuccessor => {
                self.revoke(family);
                None
            }
            Reuse::Fork => Some(self.rotate(presented, family, access, now)),
            Reuse::LatestSuccessor => {
                self.replace(successor);
                Some(self.rotate(presented, family, access, now))
            }
        }
    }

    fn rotate(&mut self, presented: &str, family: Family, access: Access, now: Timestamp) -> Pair {
        self.refreshes += 1;
        let (access, lifetime) = match access {
            Access::New => (self.issue_access(family, Some(now)), self.rules.lifetime),
            Access::Expired => (self.issue_access(family, None), Some(Duration::ZERO)),
            Access::Same => {
                self.issued += 1;
                let access = self.families[family as usize - 1].last_access.clone();
                let lifetime = self.lifetime_left(&access, now);
                (access, lifetime)
            }
        };
        let refresh = self.rules.rotates.then(|| format!("R{}", self.suffix(family)));
        let pair = Pair { access, refresh, lifetime };
        if let Some(refresh) = &pair.refresh {
            self.refresh.insert(refresh.clone(), RefreshToken { family, state: State::Unused });
            let used = State::Used { successor: pair.clone(), at: now };
            self.refresh.insert(presented.to_owned(), RefreshToken { family, state: used });
        }
        pair
    }

    /// Returns `pair` again, with a new access token if the old one is no longer valid.
    fn repeat(&mut self, family: Family, pair: Pair, now: Timestamp) -> Pair {
        if self.accepts(&pair.access, now) {
            return Pair { lifetime: self.lifetime_left(&pair.access, now), ..pair };
        }
        Pair { access: self.issue_access(family, Some(now)), lifetime: self.rules.lifetime, ..pair }
    }

    fn lifetime_left(&self, access: &str, now: Timestamp) -> Option<Duration> {
        let lifetime = self.rules.lifetime?;
        let issued_at = self.access.get(access).and_then(|token| token.issued_at);
        let elapsed = issued_at.map_or(Duration::MAX, |at| duration(now.since(at)));
        Some(lifetime.saturating_sub(elapsed))
    }

    /// Invalidates a pair and all its successors.
    fn replace(&mut self, pair: Pair) {
        let mut next = Some(pair);
        while let Some(pair) = next.take() {
            self.expire(&pair.access);
            let Some(token) = pair.refresh.and_then(|refresh| self.refresh.get_mut(&refresh)) else { return };
            if let State::Used { successor, .. } = std::mem::replace(&mut token.state, State::Replaced) {
                next = Some(successor);
            }
        }
    }

    /// Returns whether the family was alive until now.
    pub(super) fn revoke(&mut self, family: Family) -> bool {
        let state = self.families.get_mut(family as usize - 1);
        state.is_some_and(|state| std::mem::replace(&mut state.is_alive, false))
    }

    fn expire(&mut self, access: &str) {
        if let Some(token) = self.access.get_mut(access) {
            token.issued_at = None;
        }
    }

    pub(super) fn expire_all(&mut self) {
        for token in self.access.values_mut() {
            token.issued_at = None;
        }
    }

    /// Whether an access token is valid.
    pub(super) fn accepts(&self, access: &str, now: Timestamp) -> bool {
        let Some(token) = self.access.get(access) else { return false };
        let lasts = |at| self.rules.lifetime.is_none_or(|lifetime| now.since(at) < nanos(lifetime));
        token.issued_at.is_some_and(lasts) && self.is_alive(token.family)
    }

    /// Whether a refresh token hasn't been replaced, and its family isn't revoked. Without rotation, nothing
    /// replaces it.
    pub(super) fn is_unused(&self, refresh: &str) -> bool {
        let token = self.refresh.get(refresh);
        token.is_some_and(|token| matches!(token.state, State::Unused) && self.is_alive(token.family))
    }

    pub(super) fn family_of(&self, token: &str) -> Option<Family> {
        let refresh = self.refresh.get(token).map(|token| token.family);
        refresh.or_else(|| self.access.get(token).map(|token| token.family))
    }

    pub(super) fn has_scope(&self, access: &str, scope: &str) -> bool {
        let family = self.access.get(access).and_then(|token| self.families.get(token.family as usize - 1));
        family.is_some_and(|family| family.scopes.iter().any(|granted| granted == scope))
    }

    pub(super) fn is_alive(&self, family: Family) -> bool {
        self.families.get(family as usize - 1).is_some_and(|state| state.is_alive)
    }

    pub(super) fn are_alive(&self) -> bool {
        self.families.iter().all(|state| state.is_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp { wall: 0, monotonic: 0 };
    const MINUTE: Duration = Duration::from_secs(60);

    fn rules(reuse: Reuse) -> Rules {
        Rules { reuse, tolerance: Duration::ZERO, lifetime: Some(MINUTE), rotates: true }
    }

    /// A sign-in, and its first refresh.
    fn used(rules: Rules) -> (Grants, String, Pair) {
        let mut grants = Grants::new(rules);
        let first = grants.sign_in(Vec::new(), NOW).refresh.unwrap();
        let second = grants.exchange(&first, Access::New, NOW).unwrap();
        (grants, first, second)
    }

    fn refresh(pair: &Pair) -> &str {
        pair.refresh.as_deref().unwrap()
    }

    fn later(by: Duration) -> Timestamp {
        Timestamp { wall: nanos(by), monotonic: nanos(by) }
    }

    /// Not its whole lifetime again.
    #[test]
    fn an_access_token_that_is_returned_again_has_the_rest_of_its_lifetime() {
        let half = Some(MINUTE / 2);
        let mut grants = Grants::new(rules(Reuse::Refuse));
        let first = grants.sign_in(Vec::new(), NOW);
        let same = grants.exchange(refresh(&first), Access::Same, later(MINUTE / 2)).unwrap();
        assert_eq!((&same.access, same.lifetime), (&first.access, half));

        let (mut grants, first, second) = used(rules(Reuse::SameSuccessor));
        let again = grants.exchange(&first, Access::New, later(MINUTE / 2)).unwrap();
        assert_eq!((&again.access, again.lifetime), (&second.access, half));
    }

    #[test]
    fn each_policy_treats_a_used_token_as_it_says() {
        let (mut revoking, first, second) = used(rules(Reuse::RevokeFamily));
        assert_eq!(revoking.exchange(&first, Access::New, NOW), None);
        assert!(!revoking.accepts(&second.access, NOW) && !revoking.are_alive());

        let (mut refusing, first, second) = used(rules(Reuse::Refuse));
        assert_eq!(refusing.exchange(&first, Access::New, NOW), None);
        assert!(refusing.accepts(&second.access, NOW) && refusing.is_unused(refresh(&second)));

        let (mut same, first, second) = used(rules(Reuse::SameSuccessor));
        assert_eq!(same.exchange(&first, Access::New, NOW).as_ref(), Some(&second));
        same.exchange(refresh(&second), Access::New, NOW).unwrap();
        assert_eq!(same.exchange(&first, Access::New, NOW), None);
        assert!(!same.are_alive());

        let (mut forking, first, second) = used(rules(Reuse::Fork));
        let third = forking.exchange(&first, Access::New, NOW).unwrap();
        assert!(forking.is_unused(refresh(&second)) && forking.is_unused(refresh(&third)));

        let (mut latest, first, second) = used(rules(Reuse::LatestSuccessor));
        let third = latest.exchange(&first, Access::New, NOW).unwrap();
        assert!(!latest.accepts(&second.access, NOW) && !latest.is_unused(refresh(&second)));
        assert!(latest.accepts(&third.access, NOW) && latest.is_unused(refresh(&third)));
    }

    #[test]
    fn reuse_is_tolerated_for_a_time() {
        let (mut grants, first, second) = used(Rules { tolerance: MINUTE, ..rules(Reuse::RevokeFamily) });
        let left = Duration::from_nanos(1);
        let within = later(MINUTE - left);
        let same = Pair { lifetime: Some(left), ..second.clone() };
        assert_eq!(grants.exchange(&first, Access::New, within), Some(same));
        // Its access token has expired.
        grants.expire_all();
        let again = grants.exchange(&first, Access::New, within).unwrap();
        assert_eq!(again.refresh, second.refresh);
        assert!(grants.accepts(&again.access, within));
        assert_eq!((grants.refreshes, grants.reuses, grants.refusals), (1, 2, 0));
        assert_eq!(grants.exchange(&first, Access::New, later(MINUTE)), None);
        assert!(!grants.are_alive());
    }

    #[test]
    fn access_tokens_expire_after_their_lifetime() {
        let (grants, _, second) = used(rules(Reuse::Refuse));
        assert!(grants.accepts(&second.access, later(MINUTE - Duration::from_nanos(1))));
        assert!(!grants.accepts(&second.access, later(MINUTE)));
        let (grants, _, second) = used(Rules { lifetime: None, ..rules(Reuse::Refuse) });
        assert!(grants.accepts(&second.access, later(1000 * MINUTE)));
    }

    #[test]
    fn without_rotation_a_refresh_token_stays_valid() {
        let (mut grants, first, second) = used(Rules { rotates: false, ..rules(Reuse::RevokeFamily) });
        assert_eq!(second.refresh, None);
        assert!(grants.is_unused(&first));
        grants.exchange(&first, Access::New, NOW).unwrap();
        assert_eq!((grants.refreshes, grants.reuses), (2, 0));
    }

    #[test]
    fn no_two_tokens_are_equal() {
        let (one, first, second) = used(rules(Reuse::Refuse));
        let (other, other_first, other_second) = used(rules(Reuse::Refuse));
        assert_ne!(first, other_first);
        assert_ne!(second, other_second);
        assert!(!other.accepts(&second.access, NOW) && one.accepts(&second.access, NOW));
        assert_eq!(other.family_of(&first), None);
    }
}
