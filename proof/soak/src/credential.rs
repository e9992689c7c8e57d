//! A session with its server and its save hook, and what is observed of it.

use std::{
    collections::BTreeSet,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::{
    AccessToken, Error, RefreshContext, RefreshError, Refresher, Session, Token, TokenBuilder,
    rt::{Clock, NoTimer, Sleep, SystemClock, Timestamp},
};

/// A session, its server and its save hook.
pub(crate) struct Credential {
    pub(crate) session: Session,
    pub(crate) server: Arc<Server>,
    /// Locked while the user is changed.
    user: Mutex<u64>,
}

/// A server that replaces the refresh token with each response, and what threads know of the session.
#[derive(Default)]
pub(crate) struct Server {
    state: Mutex<State>,
    issued: AtomicU64,
    /// The last sign-in that has begun.
    pub(crate) sign_ins: AtomicU64,
    /// No operation that begins now may return a token of an earlier sign-in, or an earlier generation.
    sign_in: AtomicU64,
    generation: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Everything succeeds from now on.
    is_healthy: bool,
    /// The refresh tokens that are being presented.
    presented: Vec<String>,
    /// Those whose successors have arrived, of the last sign-ins.
    spent: BTreeSet<String>,
    calls: u64,
    is_saving: bool,
    /// What was saved last.
    saved: Option<Option<String>>,
    violations: Vec<String>,
}

/// What was observed before an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    sign_in: u64,
    generation: u64,
}

struct ServerHandle(Arc<Server>);

/// A call of the refresher.
struct Call<'a> {
    server: &'a Server,
    presented: String,
}

/// A call of the save hook.
struct Save<'a>(&'a Server);

const BACKOFF: Duration = Duration::from_millis(1);
/// Nothing takes this long, unless a notification is lost.
const LONG: Duration = Duration::from_secs(30);

// === impl Credential ===

impl Credential {
    pub(crate) fn new() -> Self {
        let server = Arc::<Server>::default();
        let save = {
            let server = Arc::clone(&server);
            move |token: Option<Token>| {
                let server = Arc::clone(&server);
                async move { server.save(token).await }
            }
        };
        let session = Session::builder(ServerHandle(Arc::clone(&server)))
            .token(server.token(0).refresh_token(server.refresh_token(0)).build().expect("a valid token"))
            .clock(ServerHandle(Arc::clone(&server)))
            .backoff(BACKOFF, BACKOFF)
            .rejection_wait(LONG)
            .wait_timeout(LONG)
            .save_timeout(LONG)
            .save_with(save)
            .build();
        Self { session, server, user: Mutex::new(0) }
    }

    pub(crate) fn observed(&self) -> Observed {
        Observed {
            sign_in: self.server.sign_in.load(SeqCst),
            generation: self.server.generation.load(SeqCst),
        }
    }

    /// Checks a token that was returned by an operation that began when `before` had been observed.
    pub(crate) fn check(&self, what: &str, before: Observed, token: &AccessToken) {
        let (secret, generation) = (token.secret(), token.generation());
        if user(secret) < before.sign_in || generation < before.generation {
            self.server
                .violation(format!("{what}: {secret} of generation {generation} is older than {before:?}"));
        }
        self.server.generation.fetch_max(generation, SeqCst);
    }

    /// Checks an error of a call: only a rejection, a failure, the shutdown of a runtime or a change of the
    /// user explains one.
    pub(crate) fn check_error(&self, what: &str, error: &Error) {
        let is_explained = error.is_outcome_unknown()
            || error.is_transient()
            || error.is_backoff()
            || error.is_signed_out()
            || error.is_missing_runtime();
        if !is_explained {
            self.server.violation(format!("{what}: {error:?}"));
        }
    }

    pub(crate) fn set_token(&self) {
        let user = self.lock_user();
        let token = self.server.token(*user).refresh_token(self.server.refresh_token(*user));
        let result = self.session.set_token(token.build().expect("a valid token"));
        if result.is_err_and(|error| !error.is_signed_out()) {
            self.server.violation("`set_token` failed, although the user is signed in".to_owned());
        }
        self.server.generation.fetch_max(self.session.status().generation(), SeqCst);
    }

    pub(crate) fn sign_in(&self) {
        let mut user = self.lock_user();
        *user += 1;
        self.server.sign_ins.store(*user, SeqCst);
        let token = self.server.token(*user).refresh_token(self.server.refresh_token(*user));
        self.session.sign_in(token.build().expect("a valid token"));
        self.server.sign_in.store(*user, SeqCst);
        self.server.generation.fetch_max(self.session.status().generation(), SeqCst);
    }

    pub(crate) fn sign_out(&self) {
        let user = self.lock_user();
        drop(self.session.sign_out());
        self.server.sign_in.store(*user + 1, SeqCst);
    }

    fn lock_user(&self) -> MutexGuard<'_, u64> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that no waiter and no flight is left.
    pub(crate) fn check_rest(&self) {
        let status = self.session.status();
        if status.waiters() != 0 {
            self.server.violation(format!(
                "{} waiters are still counted after all callers have ended",
                status.waiters()
            ));
        }
        if status.is_refreshing() {
            self.server.violation("a flight is still in progress after all callers have ended".to_owned());
        }
    }

    /// Checks that an idle session holds what was saved last.
    pub(crate) fn check_saved(&self) {
        let Some(saved) = self.server.state().saved.clone() else { return };
        let held = self.session.try_token().map(|token| token.secret().to_owned());
        if saved != held {
            self.server.violation(format!("{saved:?} was saved last, but the session holds {held:?}"));
        }
    }
}

// === impl Server ===

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heal(&self) {
        self.state().is_healthy = true;
    }

    pub(crate) fn violation(&self, violation: String) {
        self.state().violations.push(violation);
    }

    pub(crate) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.state().violations)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// A token for a user. Users are numbered by sign-in.
    fn token(&self, user: u64) -> TokenBuilder {
        let issued = self.issued.fetch_add(1, SeqCst);
        Token::builder(format!("u{user}-a{issued}"))
            .received_at(SystemClock.now().wall())
            .expires_in(Duration::from_secs(3600))
    }

    fn refresh_token(&self, user: u64) -> String {
        format!("u{user}-r{}", self.issued.fetch_add(1, SeqCst))
    }

    fn begin_call(&self, presented: &str) -> Call<'_> {
        let mut state = self.state();
        state.calls += 1;
        if state.spent.contains(presented) {
            state.violations.push(format!("the spent refresh token {presented} was presented"));
        }
        let beside = state.presented.iter().find(|other| user(other) == user(presented)).cloned();
        if let Some(other) = beside {
            state
                .violations
                .push(format!("{presented} was presented while a call with {other} was in progress"));
        }
        state.presented.push(presented.to_owned());
        Call { server: self, presented: presented.to_owned() }
    }

    fn spend(&self, presented: &str) {
        const KEPT: usize = 1000;
        let mut state = self.state();
        state.spent.insert(presented.to_owned());
        if state.spent.len() > KEPT {
            state.spent.pop_first();
        }
    }

    async fn save(&self, token: Option<Token>) -> Result<(), &'static str> {
        let (save, is_healthy) = {
            let mut state = self.state();
            if std::mem::replace(&mut state.is_saving, true) {
                state.violations.push("two saves were in progress at the same time".to_owned());
            }
            (Save(self), state.is_healthy)
        };
        match fastrand::u8(..64) {
            _ if is_healthy => {}
            0 => return Err("the save fails"),
            1 => resume_unwind(Box::new("the save hook panics")),
            2 => pause().await,
            3..32 => tokio::task::yield_now().await,
            _ => {}
        }
        self.state().saved = Some(token.map(|token| token.access_token().to_owned()));
        drop(save);
        Ok(())
    }
}

/// The sign-in that a token belongs to.
pub(crate) fn user(token: &str) -> u64 {
    let user = token.strip_prefix('u').and_then(|token| token.split('-').next());
    user.and_then(|user| user.parse().ok()).unwrap_or(u64::MAX)
}

/// Waits for a timer.
async fn pause() {
    SystemClock.sleep(Duration::from_micros(100)).expect("the runtime has timers").await;
}

// === impl ServerHandle ===

impl Refresher for ServerHandle {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let server = &self.0;
        let call = server.begin_call(cx.refresh_token().unwrap_or("none"));
        let is_healthy = server.state().is_healthy;
        match fastrand::u8(..64) {
            _ if is_healthy => {}
            0 => return Err(RefreshError::transient("the server is busy")),
            1 => return Err(RefreshError::outcome_unknown("no response")),
            2 => resume_unwind(Box::new("the refresher panics")),
            3..6 => pause().await,
            6..32 => tokio::task::yield_now().await,
            _ => {}
        }
        let user = user(&call.presented);
        let token = server.token(user).refresh_token(server.refresh_token(user)).build()?;
        server.spend(&call.presented);
        Ok(token)
    }
}

impl Clock for ServerHandle {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn precise_now(&self) -> Timestamp {
        SystemClock.precise_now()
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        let sleep = SystemClock.sleep(duration)?;
        if duration < LONG / 2 {
            return Ok(sleep);
        }
        let server = Arc::clone(&self.0);
        Ok(Box::pin(async move {
            sleep.await;
            server.violation(format!("a wait of {duration:?} ended by its timer: nothing woke it"));
        }))
    }
}

// === impl Call ===

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.server.state();
        if let Some(at) = state.presented.iter().position(|presented| *presented == self.presented) {
            state.presented.swap_remove(at);
        }
    }
}

// === impl Save ===

impl Drop for Save<'_> {
    fn drop(&mut self) {
        self.0.state().is_saving = false;
    }
}
