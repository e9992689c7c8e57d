//! What surrounds a session in an execution: a server, a clock, a runtime, a save hook, and what they observe.

use std::{
    collections::BTreeSet,
    future::{Future, pending, poll_fn},
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use shuttle::{future::block_on, thread};

use crate::{
    AccessToken, Error, RefreshContext, RefreshError, Refresher, Session, Token, TokenBuilder,
    execution::read,
    rt::{Clock, NoRuntime, NoTimer, Sleep, Spawner, Task, Timestamp},
    scenario::{Action, Demand, Fate, Response, Save, Scenario, Start, Time},
    sync::step,
};

/// What surrounds a session.
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
    /// The tasks that nobody runs.
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

struct TimerState {
    id: usize,
    deadline: u64,
    has_fired: bool,
    waker: Option<Waker>,
}

/// A call of the refresher.
struct Call {
    id: usize,
    presented: String,
    /// When its flight times out, and may be abandoned.
    deadline: u64,
}

/// What some thread knows: no operation that begins later may return anything older.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) sign_in: u64,
    pub(crate) generation: u64,
    /// What may be read without the lock.
    pub(crate) published_generation: u64,
}

/// The refresher's call is in progress until this is dropped.
struct CallGuard<'a> {
    world: &'a World,
    id: usize,
    presented: String,
}

struct SaveGuard<'a>(&'a World);

struct Timer {
    world: Arc<World>,
    id: usize,
}

struct DropAt {
    task: Option<Task>,
    left: u8,
}

/// The parts of the world that the session has.
#[derive(Clone)]
struct Handle(Arc<World>);

const TRANSIENT: &[Response] =
    &[Response::Transient, Response::TransientWithSuccessor, Response::Unexplained];
const REFRESH_TIMEOUT: u64 = 60;
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

    /// A token of a user, who is named after the sign-in.
    pub(crate) fn token(&self, user: u64, expires_in: u64) -> TokenBuilder {
        let mut state = self.state();
        state.issued += 1;
        let issued = state.issued;
        let expires_in = Duration::from_secs(expires_in);
        // With its whole lifetime, so that one that is stale was received some time ago.
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

    // Time

    /// The machine is suspended: timers stand still.
    pub(crate) fn suspend(&self) {
        self.state().now += 2 * REFRESH_TIMEOUT;
    }

    /// Fires the timer that is next.
    pub(crate) fn fire_next_timer(&self) {
        let waker = {
            let mut state = self.state();
            let State { now, timers, .. } = &mut *state;
            let next = timers.iter_mut().filter(|timer| !timer.has_fired).min_by_key(|timer| timer.deadline);
            let Some(timer) = next else { return };
            timer.has_fired = true;
            *now = timer.deadline.max(*now);
            timer.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn passes(&self) -> bool {
        self.scenario.time != Time::StandsStill
    }

    // Tasks

    /// Ends the runtimes that don't run, and waits for the tasks that do.
    pub(crate) fn end_tasks(&self) {
        loop {
            let (kept, running) = {
                let mut state = self.state();
                (state.kept.pop(), state.running.pop())
            };
            match (kept, running) {
                (None, None) => break,
                (kept, running) => {
                    drop(kept);
                    if let Some(running) = running {
                        running.join().expect("a task catches the panics of user code");
                    }
                }
            }
        }
        let mut state = self.state();
        let mut late = std::mem::take(&mut state.spent_late);
        state.spent.append(&mut late);
    }

    // The server

    fn begin_call(&self, cx: &RefreshContext) -> (CallGuard<'_>, Response) {
        let time_left = cx.time_left().unwrap_or_default().as_secs();
        // Whoever abandons a flight can't stop its task.
        let is_late = self.state().is_shut_down && cx.is_wanted();
        let mut state = self.state();
        let state = &mut *state;
        let presented = cx.refresh_token().unwrap_or("none").to_owned();
        let mut violations = Vec::new();
        if state.spent.contains(&presented) {
            violations.push(format!("the spent refresh token {presented} was presented"));
        }
        let now = state.now;
        let is_running = |call: &&Call| user(&call.presented) == user(&presented) && now < call.deadline;
        if let Some(call) = state.calls.iter().find(is_running) {
            violations.push(format!("{presented} was presented beside {}", call.presented));
        }
        if is_late {
            violations.push("a refresh began after the shutdown".to_owned());
        }
        state.violations.append(&mut violations);
        let response = match self.scenario.responses.get(state.called) {
            Some(response) if !state.is_healthy => *response,
            _ => Response::Token,
        };
        state.called += 1;
        let id = state.called;
        state.calls.push(Call { id, presented: presented.clone(), deadline: now + time_left });
        (CallGuard { world: self, id, presented }, response)
    }

    /// The refresh token of the server's response, which reaches the session.
    fn rotate(&self, call: &CallGuard<'_>) -> String {
        if !self.scenario.rotates {
            return call.presented.clone();
        }
        let refresh_token = self.refresh_token(user(&call.presented));
        let mut state = self.state();
        let may_be_late = self.passes() || self.scenario.acts(Action::Abandon);
        let spent = if may_be_late { &mut state.spent_late } else { &mut state.spent };
        spent.insert(call.presented.clone());
        refresh_token
    }

    // Saves

    async fn save(&self, token: Option<Token>) -> Result<(), &'static str> {
        let (_guard, save) = {
            let mut state = self.state();
            let save = match self.scenario.saves.as_ref().and_then(|saves| saves.get(state.saves)) {
                Some(save) if !state.is_healthy => *save,
                _ => Save::Succeeds,
            };
            state.saves += 1;
            state.running_saves += 1;
            if state.running_saves > 1 && !self.passes() && !self.scenario.acts(Action::Abandon) {
                state.violations.push("two saves at a time".to_owned());
            }
            (SaveGuard(self), save)
        };
        step();
        match save {
            Save::Succeeds => {}
            Save::Slow => yield_once().await,
            Save::Fails => return Err("the save fails"),
            Save::Panics => resume_unwind(Box::new("the save hook panics")),
            Save::Hangs => pending().await,
        }
        self.state().saved = Some(token.map(|token| token.access_token().to_owned()));
        Ok(())
    }

    /// Checks that what was saved last is what the session holds, which is at rest.
    pub(crate) fn check_saved(&self, session: &Session) {
        let Some(saved) = self.state().saved.clone() else { return };
        let status = session.status();
        let is_same = match (&saved, session.try_token()) {
            (None, None) => status.is_signed_out(),
            (Some(saved), Some(token)) => token.secret() == saved,
            (saved, None) => saved.is_some() == status.has_token(),
            (None, Some(_)) => false,
        };
        if !is_same {
            self.violation(format!("{saved:?} was saved last"));
        }
    }

    // What is observed

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

    /// From now on only tokens of this sign-in, or later ones.
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

// === impl Handle ===

impl Refresher for Handle {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let world = &self.0;
        let (call, response) = world.begin_call(&cx);
        let user = user(&call.presented);
        step();
        let token = match response {
            Response::Token => world.token(user, LIFETIME),
            Response::SlowToken => {
                yield_once().await;
                world.token(user, LIFETIME)
            }
            Response::ShortLived => world.token(user, LIFETIME).expires_in(Duration::from_millis(100)),
            Response::SameToken => match cx.token() {
                Some(token) => TokenBuilder::from(token.clone()),
                None => world.token(user, LIFETIME),
            },
            Response::Transient => return Err(RefreshError::transient("the server is busy")),
            Response::TransientWithSuccessor => {
                let refresh_token = world.rotate(&call);
                return Err(RefreshError::transient("no access token").with_refresh_token(refresh_token));
            }
            Response::Unexplained => return Err(RefreshError::unexplained("no token")),
            Response::Misconfigured => return Err(RefreshError::misconfigured("unknown client")),
            Response::GrantEnded => return Err(RefreshError::grant_ended("revoked")),
            Response::OutcomeUnknown => {
                yield_once().await;
                return Err(RefreshError::outcome_unknown("no response"));
            }
            Response::Panic => resume_unwind(Box::new("the refresher panics")),
            Response::Hang => pending().await,
        };
        Ok(token.refresh_token(world.rotate(&call)).build()?)
    }
}

impl Clock for Handle {
    fn now(&self) -> Timestamp {
        let state = self.0.state();
        Timestamp::new(self.0.wall(&state), Duration::from_secs(state.now))
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        let mut state = self.0.state();
        state.next_timer += 1;
        let id = state.next_timer;
        let deadline = state.now.saturating_add(duration.as_secs() + u64::from(duration.subsec_nanos() > 0));
        state.timers.push(TimerState { id, deadline, has_fired: false, waker: None });
        Ok(Box::pin(Timer { world: Arc::clone(&self.0), id }))
    }
}

impl Spawner for Handle {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        let fate = {
            let mut state = self.0.state();
            let fate = self.0.scenario.tasks.get(state.spawned).copied();
            state.spawned += 1;
            fate.filter(|_| !state.is_healthy).unwrap_or(Fate::Runs)
        };
        let run: Box<dyn FnOnce() + Send> = match fate {
            Fate::Runs => Box::new(|| block_on(task)),
            Fate::Refused => return Err(NoRuntime),
            Fate::Unpolled => Box::new(|| drop(task)),
            Fate::DroppedAt(left) => Box::new(move || block_on(DropAt { task: Some(task), left })),
            Fate::NeverRuns => {
                self.0.state().kept.push(task);
                return Ok(());
            }
        };
        let world = Arc::clone(&self.0);
        let running = thread::spawn(move || {
            run();
            // A thread of a runtime runs callers, too.
            let session = world.state().session.clone();
            if let Some(session) = session {
                read(&world, &session);
            }
        });
        self.0.state().running.push(running);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.0.scenario.is_ready || self.0.state().is_healthy
    }
}

// === impl CallGuard ===

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.world.state().calls.retain(|call| call.id != self.id);
    }
}

// === impl SaveGuard ===

impl Drop for SaveGuard<'_> {
    fn drop(&mut self) {
        self.0.state().running_saves -= 1;
    }
}

// === impl Timer ===

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.state();
        let timer = state.timers.iter_mut().find(|timer| timer.id == self.id);
        let Some(timer) = timer.filter(|timer| !timer.has_fired) else { return Poll::Ready(()) };
        timer.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut state = self.world.state();
        let at = state.timers.iter().position(|timer| timer.id == self.id);
        let timer = at.map(|at| state.timers.swap_remove(at));
        // The waker is dropped without the lock.
        drop(state);
        drop(timer);
    }
}

// === impl DropAt ===

impl Future for DropAt {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Poll::Pending
            }
            None => {
                self.task = None;
                Poll::Ready(())
            }
        }
    }
}

/// Waits for a wake-up.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
