//! A token endpoint that rotates refresh tokens, by one of five policies.

use std::collections::{HashMap, HashSet};

/// What the server does with a refresh token that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
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

pub(crate) const POLICIES: [Policy; 5] = [
    Policy::Revoke,
    Policy::Refuse,
    Policy::SameSuccessor,
    Policy::AnotherSuccessor,
    Policy::LatestSuccessor,
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Live,
    Spent { successor: String },
    Dead,
}

struct RefreshToken {
    state: State,
    grant: u32,
}

pub(crate) struct Server {
    pub(crate) policy: Policy,
    tokens: HashMap<String, RefreshToken>,
    live_grants: HashSet<u32>,
    access: HashMap<String, u32>,
    grants: u32,
    issued: u32,
    /// The rotations made.
    pub(crate) exchanges: u32,
    pub(crate) refusals: u32,
}

/// A pair of tokens.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Server {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            tokens: HashMap::new(),
            live_grants: HashSet::new(),
            access: HashMap::new(),
            grants: 0,
            issued: 0,
            exchanges: 0,
            refusals: 0,
        }
    }

    /// A sign-in.
    pub(crate) fn grant(&mut self) -> Pair {
        self.grants += 1;
        self.live_grants.insert(self.grants);
        self.issue(self.grants)
    }

    fn issue(&mut self, grant: u32) -> Pair {
        self.issued += 1;
        let pair = Pair {
            access: format!("A{}-of-{grant}", self.issued),
            refresh: format!("R{}-of-{grant}", self.issued),
        };
        self.tokens.insert(pair.refresh.clone(), RefreshToken { state: State::Live, grant });
        self.access.insert(pair.access.clone(), grant);
        pair
    }

    /// Another access token of a grant, without a refresh token.
    pub(crate) fn extra_access(&mut self, grant: u32) -> String {
        self.issued += 1;
        let access = format!("A{}-of-{grant}", self.issued);
        self.access.insert(access.clone(), grant);
        access
    }

    /// `None`: `invalid_grant`.
    pub(crate) fn refresh(&mut self, presented: &str) -> Option<Pair> {
        let answer = self.answer(presented);
        match answer {
            Some(_) => self.exchanges += 1,
            None => self.refusals += 1,
        }
        answer
    }

    fn answer(&mut self, presented: &str) -> Option<Pair> {
        let RefreshToken { state, grant } = self.tokens.get(presented)?;
        let (state, grant) = (state.clone(), *grant);
        if !self.live_grants.contains(&grant) {
            return None;
        }
        match (state, self.policy) {
            (State::Dead, _) => None,
            (State::Live, _) => {
                let pair = self.issue(grant);
                self.spend(presented, &pair.refresh);
                Some(pair)
            }
            (State::Spent { .. }, Policy::Revoke) => {
                self.live_grants.remove(&grant);
                None
            }
            (State::Spent { .. }, Policy::Refuse) => None,
            (State::Spent { successor }, Policy::SameSuccessor) => {
                if self.tokens[&successor].state != State::Live {
                    self.live_grants.remove(&grant);
                    return None;
                }
                let access = self.extra_access(grant);
                Some(Pair { access, refresh: successor })
            }
            (State::Spent { .. }, Policy::AnotherSuccessor) => Some(self.issue(grant)),
            (State::Spent { successor }, Policy::LatestSuccessor) => {
                let mut next = Some(successor);
                while let Some(token) = next.take() {
                    if let Some(found) = self.tokens.get_mut(&token) {
                        if let State::Spent { successor } = &found.state {
                            next = Some(successor.clone());
                        }
                        found.state = State::Dead;
                    }
                }
                let pair = self.issue(grant);
                self.spend(presented, &pair.refresh);
                Some(pair)
            }
        }
    }

    fn spend(&mut self, presented: &str, successor: &str) {
        if let Some(token) = self.tokens.get_mut(presented) {
            token.state = State::Spent { successor: successor.to_owned() };
        }
    }

    /// Whether a request with this access token is accepted.
    pub(crate) fn accepts(&self, access: &str) -> bool {
        self.access.contains_key(access)
    }

    /// All access tokens expire.
    pub(crate) fn expire(&mut self) {
        self.access.clear();
    }

    pub(crate) fn is_live(&self, refresh: &str) -> bool {
        self.tokens
            .get(refresh)
            .is_some_and(|token| token.state == State::Live && self.live_grants.contains(&token.grant))
    }

    pub(crate) fn is_grant_live(&self, refresh: &str) -> bool {
        self.tokens.get(refresh).is_some_and(|token| self.live_grants.contains(&token.grant))
    }
}

/// The grant that a token is of.
pub(crate) fn grant_of(token: &str) -> u32 {
    token.rsplit('-').next().and_then(|grant| grant.parse().ok()).expect("a token of this server")
}
