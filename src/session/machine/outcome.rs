//! What a flight's end means to those who waited for it.

use crate::{
    error::{Error, ErrorKind},
    token::AccessToken,
};

use super::{Demand, Ticket, Wait};

/// What a flight's waiters are told at its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(super) sign_in: u64,
    pub(super) generation: u64,
    /// What a new request gets, if anything: the usable token, or a refused one that hasn't expired.
    pub(super) token: Option<AccessToken>,
    pub(super) usable: bool,
    pub(super) verdict: Verdict,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Renewed,
    Same,
    Failed(Error),
    /// The result wasn't wanted any more.
    Dropped,
}

/// What a waiter does at its flight's end.
#[derive(Debug)]
pub(crate) enum Resume {
    Use(AccessToken),
    Fail(Error),
    /// Ask again, with the patience that is left.
    Anew,
}

// === impl Outcome ===

impl Outcome {
    /// For the waiters of a flight of which nothing more is known.
    pub(crate) fn gone(ticket: &Ticket) -> Self {
        Self {
            sign_in: ticket.sign_in,
            generation: ticket.generation,
            token: None,
            usable: false,
            verdict: Verdict::Failed(Error::new(ErrorKind::TaskDropped)),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let verdict = Verdict::Dropped;
        Self { sign_in: 0, generation: 0, token: None, usable: false, verdict }
    }

    /// What a waiter of the flight does now.
    pub(crate) fn resume(&self, wait: &Wait) -> Resume {
        if wait.sign_in != self.sign_in {
            return Resume::Fail(Error::new(ErrorKind::SignedOut));
        }
        let newer_than =
            |generation| self.token.as_ref().filter(|_| self.usable && self.generation > generation);
        let token = match wait.demand {
            Demand::New => self.token.as_ref(),
            Demand::Refused(stamp) => newer_than(stamp.generation),
            Demand::Asked => match self.verdict {
                Verdict::Failed(_) => None,
                // No refresh of its own: one that was set since will do.
                Verdict::Dropped => newer_than(wait.generation),
                _ => self.token.as_ref().filter(|_| self.usable),
            },
        };
        match (token, &self.verdict) {
            (Some(token), _) => Resume::Use(token.clone()),
            (None, Verdict::Failed(error)) => Resume::Fail(error.clone()),
            (None, Verdict::Same) => Resume::Fail(Error::new(ErrorKind::SameToken)),
            (None, Verdict::Renewed | Verdict::Dropped) => Resume::Anew,
        }
    }
}
