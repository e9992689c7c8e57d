//! The environment of a session in an execution: a server, a clock, a runtime and a save hook, which record
//! what they observe.

mod runtime;
mod server;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use shuttle::thread;

use crate::{
    AccessToken, Error, Session, Token, TokenBuilder,
    rt::Task,
    scenario::{Action, Demand, Response, Scenario, Start, Time},
    sync::step,
};

use runtime::TimerState;
use server::{Call, yield_once};

/// The environment of a session.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Seconds.
    now: u64,
    timers: Vec<TimerState>,
    next_timer: usize,
    /// Until the callers have ended.
    session: Option<Session>,
    /// The callers have ended: from now on everything succeeds.
    is_healthy: bool,

    spawned: usize,
    running: Vec<thread::JoinHandle<()>>,
    /// The tasks that never run.
    kept: Vec<Task>,

    called: usize,
    calls: Vec<Call>,
    /// The refresh tokens whose successors have arrived.
    spent: BTreeSet<String>,
    /// Those whose flights may have been abandoned: the next flight may be calling the refresher already.
    spent_late: BTreeSet<String>,
    /// Numbers the tokens.
    issued: usize,

    saves: usize,
    running_saves: usize,
    /// What was saved last.
    saved: Option<Option<String>>,

    observed: Observed,
    /// The number of the last sign-in that has begun.
    sign_ins: u64,
    is_shut_down: bool,
    violations: Vec<String>,
}

/// What some thread knows: no operation that begins later may return anything older.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) sign_in: u64,
    pub(crate) generation: u64,
    /// What may be read without the lock.
    pub(crate) published_generation: u64,
}

/// The parts of the world that the session has.
#[derive(Clone)]
struct Handle(Arc<World>);

const TRANSIENT: &[Response] =
    &[Response::Transient, Response::TransientWithSuccessor, Response::Unexplained];
const LIFETIME: u64 = 3600;

// === impl World ===

impl World {
    pub(crate) fn new(scenario: Scenario) -> Arc<Self> {
        Arc::new(Self { scenario, state: Mutex::default() })
    }

    pub(crate) fn session(self: &Arc<Self>) -> Session {
        let handle = || Handle(Arc::clone(self));
        let builder = Session::builder(handle())
            .clock(handle())
            .spawner(handle())
            .jitter(false)
            .wait_through_backoff(self.scenario.waits_through_backoff)
            // Another thread may run between the end of a critical section and its effects.
            .on_event(|_| step());
        let builder = match self.scenario.saves {
            None => builder,
            Some(_) => {
                let world = Arc::clone(self);
                builder.save_with(move |token: Option<Token>| {
                    let world = Arc::clone(&world);
                    async move { world.save(token).await }
                })
            }
        };
        let builder = match self.scenario.revokes {
            false => builder,
            true => builder.revoke_with(|_| async {
                yield_once().await;
                Ok::<_, &str>(())
            }),
        };
        let age = match self.scenario.start {
            Start::Nothing => return builder.refresh_token("u0-r0").build(),
            Start::SignedOut => return builder.signed_out().build(),
            Start::Fresh => 0,
            Start::Stale => LIFETIME - 600,
            Start::Expired => LIFETIME,
        };
        let token = self.token(0, LIFETIME - age).refresh_token("u0-r0").build();
        builder.token(token.expect("a valid token")).build()
    }

    /// A token for a user. Users are numbered by sign-in.
    pub(crate) fn token(&self, user: u64, expires_in: u64) -> TokenBuilder {
        let mut state = self.state();
        state.issued += 1;
        let issued = state.issued;
        let expires_in = Duration::from_secs(expires_in);
        // The token was issued with its full lifetime; one that starts out stale was received earlier.
        let received = self.wall(&state) - (Duration::from_secs(LIFETIME) - expires_in);
        Token::builder(format!("u{user}-a{issued}"))
            .received_at(received)
            .expires_at(received + Duration::from_secs(LIFETIME))
    }

    /// A refresh token that the server hasn't issued before.
    pub(crate) fn refresh_token(&self, user: u64) -> String {
        let mut state = self.state();
        state.issued += 1;
        format!("u{user}-r{}", state.issued)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wall(&self, state: &State) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + state.now)
    }

    pub(crate) fn violation(&self, violation: String) {
        self.state().violations.push(violation);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The threads that run tasks read the session, too.
    pub(crate) fn share(&self, session: &Session) {
        self.state().session = Some(session.clone());
    }

    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.is_healthy = true;
        let session = state.session.take();
        drop(state);
        drop(session);
    }

    pub(crate) fn observed(&self) -> Observed {
        self.state().observed
    }

    pub(crate) fn sign_ins(&self) -> u64 {
        self.state().sign_ins
    }

    pub(crate) fn begin_sign_in(&self) -> u64 {
        let mut state = self.state();
        state.sign_ins += 1;
        state.sign_ins
    }

    /// From now on, only tokens of this sign-in or a later one are allowed.
    pub(crate) fn observe_sign_in(&self, sign_in: u64) {
        let mut state = self.state();
        state.observed.sign_in = sign_in.max(state.observed.sign_in);
    }

    pub(crate) fn observe_generation(&self, generation: u64) {
        let mut state = self.state();
        state.observed.generation = generation.max(state.observed.generation);
    }

    pub(crate) fn observe_rejection(&self, token: &AccessToken) {
        let mut state = self.state();
        let published = &mut state.observed.published_generation;
        *published = (token.generation() + 1).max(*published);
    }

    pub(crate) fn observe_shutdown(&self) {
        self.state().is_shut_down = true;
    }

    /// Checks a token that was returned by an operation that began when `before` had been observed.
    pub(crate) fn check(&self, what: &str, before: Observed, token: &AccessToken) {
        let (secret, generation) = (token.secret(), token.generation());
        if user(secret) < before.sign_in {
            self.violation(format!("{what}: {secret} is of an earlier sign-in than {before:?}"));
        }
        if generation < before.generation {
            self.violation(format!("{what}: {secret} of generation {generation} is older than {before:?}"));
        }
        self.observe_generation(generation);
    }

    /// Checks whether the scenario explains an error.
    pub(crate) fn check_error(&self, what: &str, error: &Error) {
        let scenario = &self.scenario;
        let responds = |responses: &[Response]| responses.iter().any(|response| scenario.responds(*response));
        let rejects = scenario.acts(Action::MarkRejected)
            || scenario.callers.iter().any(|caller| caller.demand == Demand::AfterRejection);
        let changes_sign_in = scenario.start == Start::SignedOut
            || scenario.acts(Action::SignIn)
            || scenario.acts(Action::SignOut);
        let is_lost = scenario.loses_tasks()
            || self.passes()
            || scenario.acts(Action::Abandon)
            || responds(&[Response::OutcomeUnknown, Response::Panic, Response::Hang]);
        let is_explained = (error.is_outcome_unknown() && is_lost)
            || (error.is_timeout() && self.passes())
            || (error.is_backoff() && (rejects || is_lost))
            || (error.is_backoff() && responds(&[Response::SameToken, Response::ShortLived]))
            || (error.is_transient() && responds(TRANSIENT))
            || (error.is_missing_runtime() && !scenario.is_ready)
            || (error.is_misconfigured() && responds(&[Response::Misconfigured]))
            || (error.is_grant_ended() && responds(&[Response::GrantEnded]))
            || (error.is_same_token() && responds(&[Response::SameToken]))
            || (error.is_signed_out() && changes_sign_in)
            || (error.is_shut_down() && scenario.acts(Action::Shutdown));
        if !is_explained {
            self.violation(format!("{what}: {error:?}"));
        }
    }
}

/// The sign-in that a token belongs to.
pub(crate) fn user(token: &str) -> u64 {
    let user = token.strip_prefix('u').and_then(|token| token.split('-').next());
    user.and_then(|user| user.parse().ok()).unwrap_or(u64::MAX)
}
