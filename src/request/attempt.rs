//! [`Attempt`].

use http::{Request, Response};

use crate::{error::Error, rt::Nanos, session::Session, token::TokenId};

use super::{head::Head, replay::NotReplayed, report::AuthReport};

/// The state of one request in progress.
pub(crate) struct Attempt<B, K> {
    /// The token that it carries. `None`: its response isn't checked.
    pub(super) token: Option<TokenId>,
    /// The session that was chosen for it. `None`: the layer's.
    pub(super) session: Option<Session>,
    pub(super) payload: Payload<B, K>,
    pub(super) waited: bool,
    pub(super) attempts: u8,
    /// How many times its token expired while it waited for readiness.
    pub(super) expired_while_readying: u8,
}

/// What is left to send.
pub(super) enum Payload<B, K> {
    Nothing,
    /// A request that wasn't sent yet.
    Pending(Box<Pending<B>>),
    Replayable(Box<Replayable<K>>),
}

pub(super) struct Pending<B> {
    pub(super) request: Request<B>,
    /// The deadline of the whole call, on the monotonic clock.
    pub(super) deadline: Option<Nanos>,
}

/// What a retry is created from.
pub(super) struct Replayable<K> {
    pub(super) head: Head,
    pub(super) body: K,
    pub(super) deadline: Option<Nanos>,
}

// === impl Attempt ===

impl<B, K> Attempt<B, K> {
    #[inline]
    pub(crate) fn new(session: Option<Session>) -> Self {
        Self {
            token: None,
            session,
            payload: Payload::Nothing,
            waited: false,
            attempts: 1,
            expired_while_readying: 0,
        }
    }

    /// The attempt of a request that isn't sent yet.
    pub(crate) fn pending(session: Option<Session>, request: Request<B>, deadline: Option<Nanos>) -> Self {
        Self { payload: Payload::Pending(Box::new(Pending { request, deadline })), ..Self::new(session) }
    }

    /// Notes that its wait for a token has ended.
    pub(crate) fn waited(&mut self) {
        self.waited = true;
    }

    /// Adds an [`AuthReport`] to the response of a request that was retried, or is rejected.
    #[cold]
    pub(crate) fn report<R>(&self, response: &mut Response<R>, error: Option<Error>) {
        response.extensions_mut().insert(AuthReport { error, ..self.to_report() });
    }

    /// Adds an [`AuthReport`] to a rejection whose request couldn't be replayed.
    #[cold]
    pub(super) fn report_not_replayed<R>(&self, response: &mut Response<R>, reason: NotReplayed) {
        response.extensions_mut().insert(AuthReport { not_replayed: Some(reason), ..self.to_report() });
    }

    fn to_report(&self) -> AuthReport {
        AuthReport { attempts: self.attempts, waited: self.waited, error: None, not_replayed: None }
    }
}
