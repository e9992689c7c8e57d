//! The tokens of a server that rotates refresh tokens, by one of five policies.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// What the server does with a refresh token that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Revokes the grant.
    Revoke,
    /// Refuses the request; the grant survives.
    Refuse,
    /// Returns the same successor while that is unused; otherwise revokes the grant.
    SameSuccessor,
    /// Returns another successor; both live.
    AnotherSuccessor,
    /// Returns another successor; the one before dies.
    LatestSuccessor,
}

/// All of them.
pub const POLICIES: [Policy; 5] = [
    Policy::Revoke,
    Policy::Refuse,
    Policy::SameSuccessor,
    Policy::AnotherSuccessor,
    Policy::LatestSuccessor,
];

/// An access token and a refresh token. A number in both counts the pairs of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Pair {
    pub access: String,
    pub refresh: String,
}

pub(crate) struct Grants {
    policy: Policy,
    /// For how long one repeat returns the first response again. `None`: the policy applies at once.
    tolerance: Option<Duration>,
    refresh: HashMap<String, RefreshToken>,
    access: HashMap<String, Grant>,
    live: HashSet<Grant>,
    last_grant: Grant,
    last_pair: u64,
    pub(crate) rotations: usize,
    pub(crate) repeats: usize,
    pub(crate) refusals: usize,
}

/// The number of a sign-in.
pub(crate) type Grant = u64;

struct RefreshToken {
    grant: Grant,
    state: State,
}

#[derive(Clone)]
enum State {
    Live,
    Spent { first: Pair, at: Instant, is_repeated: bool },
    Dead,
}

// === impl Pair ===

impl Pair {
    /// How many pairs the server had issued with this one.
    pub fn generation(&self) -> u64 {
        generation(&self.access).unwrap_or(0)
    }
}

/// The generation in `A7-of-1`.
pub(crate) fn generation(access: &str) -> Option<u64> {
    access.strip_prefix('A')?.split('-').next()?.parse().ok()
}

// === impl Grants ===

impl Grants {
    pub(crate) fn new(policy: Policy, tolerance: Option<Duration>) -> Self {
        Self {
            policy,
            tolerance,
            refresh: HashMap::new(),
            access: HashMap::new(),
            live: HashSet::new(),
            last_grant: 0,
            last_pair: 0,
            rotations: 0,
            repeats: 0,
            refusals: 0,
        }
    }

    pub(crate) fn sign_in(&mut self) -> Pair {
        self.last_grant += 1;
        self.live.insert(self.last_grant);
        self.issue(self.last_grant)
    }

    fn issue(&mut self, grant: Grant) -> Pair {
        self.last_pair += 1;
        let of = format!("{}-of-{grant}", self.last_pair);
        let pair = Pair { access: format!("A{of}"), refresh: format!("R{of}") };
        self.refresh.insert(pair.refresh.clone(), RefreshToken { grant, state: State::Live });
        self.access.insert(pair.access.clone(), grant);
        pair
    }

    /// `None`: `invalid_grant`.
    pub(crate) fn exchange(&mut self, presented: &str) -> Option<Pair> {
        let pair = self.try_exchange(presented);
        if pair.is_none() {
            self.refusals += 1;
        }
        pair
    }

    fn try_exchange(&mut self, presented: &str) -> Option<Pair> {
        let RefreshToken { grant, state } = self.refresh.get(presented)?;
        let (grant, state) = (*grant, state.clone());
        if !self.live.contains(&grant) {
            return None;
        }
        let (first, at, is_repeated) = match state {
            State::Dead => return None,
            State::Live => return Some(self.rotate(presented, grant)),
            State::Spent { first, at, is_repeated } => (first, at, is_repeated),
        };
        if self.tolerance.is_some_and(|tolerance| at.elapsed() <= tolerance) && !is_repeated {
            self.set(presented, State::Spent { first: first.clone(), at, is_repeated: true });
            self.repeats += 1;
            return Some(first);
        }
        match self.policy {
            Policy::Refuse => None,
            Policy::Revoke => {
                self.live.remove(&grant);
                None
            }
            Policy::SameSuccessor if self.is_live(&first.refresh) => {
                self.repeats += 1;
                Some(first)
            }
            Policy::SameSuccessor => {
                self.live.remove(&grant);
                None
            }
            Policy::AnotherSuccessor => Some(self.rotate(presented, grant)),
            Policy::LatestSuccessor => {
                self.kill(first);
                Some(self.rotate(presented, grant))
            }
        }
    }

    /// Ends the grant of a refresh token. Returns whether it was alive.
    pub(crate) fn revoke(&mut self, refresh: &str) -> bool {
        let grant = self.grant_of(refresh);
        grant.is_some_and(|grant| self.live.remove(&grant))
    }

    fn rotate(&mut self, presented: &str, grant: Grant) -> Pair {
        let pair = self.issue(grant);
        self.set(presented, State::Spent { first: pair.clone(), at: Instant::now(), is_repeated: false });
        self.rotations += 1;
        pair
    }

    fn set(&mut self, refresh: &str, state: State) {
        if let Some(token) = self.refresh.get_mut(refresh) {
            token.state = state;
        }
    }

    /// A pair and its successors can't be used any more.
    fn kill(&mut self, pair: Pair) {
        let mut next = Some(pair);
        while let Some(pair) = next.take() {
            self.access.remove(&pair.access);
            let Some(token) = self.refresh.get_mut(&pair.refresh) else { return };
            if let State::Spent { first, .. } = std::mem::replace(&mut token.state, State::Dead) {
                next = Some(first);
            }
        }
    }

    /// Whether a request with this access token is accepted.
    pub(crate) fn accepts(&self, access: &str) -> bool {
        self.access.get(access).is_some_and(|grant| self.live.contains(grant))
    }

    /// All access tokens expire.
    pub(crate) fn expire(&mut self) {
        self.access.clear();
    }

    pub(crate) fn is_live(&self, refresh: &str) -> bool {
        self.refresh
            .get(refresh)
            .is_some_and(|token| matches!(token.state, State::Live) && self.live.contains(&token.grant))
    }

    /// Whether a grant is alive that has a refresh token nobody has presented.
    pub(crate) fn is_signed_in(&self) -> bool {
        self.refresh.keys().any(|refresh| self.is_live(refresh))
    }

    /// The grant of a refresh token that is or was valid.
    pub(crate) fn grant_of(&self, refresh: &str) -> Option<Grant> {
        self.refresh.get(refresh).map(|token| token.grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

    fn used(policy: Policy, tolerance: Option<Duration>) -> (Grants, Pair, Pair) {
        let mut grants = Grants::new(policy, tolerance);
        let first = grants.sign_in();
        let second = grants.exchange(&first.refresh).unwrap();
        (grants, first, second)
    }

    #[test]
    fn each_policy_treats_a_used_token_as_it_says() {
        let (mut revoking, first, second) = used(Policy::Revoke, None);
        assert_eq!(revoking.exchange(&first.refresh), None);
        assert!(!revoking.accepts(&second.access) && !revoking.is_signed_in());

        let (mut refusing, first, second) = used(Policy::Refuse, None);
        assert_eq!(refusing.exchange(&first.refresh), None);
        assert!(refusing.accepts(&second.access) && refusing.is_live(&second.refresh));

        let (mut same, first, second) = used(Policy::SameSuccessor, None);
        assert_eq!(same.exchange(&first.refresh).as_ref(), Some(&second));
        same.exchange(&second.refresh).unwrap();
        assert_eq!(same.exchange(&first.refresh), None);
        assert!(!same.is_signed_in());

        let (mut another, first, second) = used(Policy::AnotherSuccessor, None);
        let third = another.exchange(&first.refresh).unwrap();
        assert!(another.is_live(&second.refresh) && another.is_live(&third.refresh));

        let (mut latest, first, second) = used(Policy::LatestSuccessor, None);
        let third = latest.exchange(&first.refresh).unwrap();
        assert!(!latest.accepts(&second.access) && !latest.is_live(&second.refresh));
        assert!(latest.accepts(&third.access) && latest.is_live(&third.refresh));
    }

    #[test]
    fn one_repeat_is_tolerated() {
        let (mut grants, first, second) = used(Policy::Revoke, HOUR);
        assert_eq!(grants.exchange(&first.refresh).as_ref(), Some(&second));
        assert_eq!((grants.rotations, grants.repeats, grants.refusals), (1, 1, 0));
        assert_eq!(grants.exchange(&first.refresh), None);
        assert_eq!((grants.rotations, grants.repeats, grants.refusals), (1, 1, 1));
        assert!(!grants.is_signed_in());
    }
}
