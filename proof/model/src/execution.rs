//! One execution: the threads of a scenario, and the checks at its end.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use shuttle::{
    future::block_on,
    sync::{Condvar, Mutex},
    thread,
};

use crate::{
    AccessToken, Error, Session, Status,
    scenario::{Action, Caller, Cancel, Demand, Scenario, Time},
    sync::{self, lock, step},
    world::{World, user},
};

/// What a watcher has seen last.
#[derive(Default)]
struct Seen {
    status: Mutex<Option<Lasting>>,
    changed: Condvar,
}

/// The part of a status that each watcher is notified of.
#[derive(Clone, Debug, PartialEq)]
struct Lasting {
    generation: u64,
    is_signed_out: bool,
    is_grant_ended: bool,
    is_shut_down: bool,
    is_rejected: bool,
    is_unsaved: bool,
    is_refreshing: bool,
}

/// A caller's future, which may be dropped before it is ready. `None`: it was.
struct Cancellable<F> {
    future: F,
    cancel: Cancel,
    /// The number of sign-ins that had begun when it first had to wait.
    waits_since: Option<u64>,
    world: Arc<World>,
}

const TIMEOUT: Duration = Duration::from_secs(300);

/// Runs a scenario, and panics if a property doesn't hold.
pub fn execute(scenario: Scenario) {
    sync::begin_execution();
    let world = World::new(scenario);
    let session = world.session();
    world.share(&session);
    let scenario = &world.scenario;

    let is_over = Arc::new(AtomicBool::new(false));
    let time = match scenario.time {
        Time::StandsStill => None,
        Time::Passes(yields) => Some(thread::spawn({
            let (world, is_over) = (Arc::clone(&world), Arc::clone(&is_over));
            move || pass_time(&world, yields, &is_over)
        })),
    };
    let seen = Arc::<Seen>::default();
    let watcher = scenario.watcher.then(|| {
        let (mut watch, seen) = (session.watch(), Arc::clone(&seen));
        thread::spawn(move || {
            loop {
                *lock(&seen.status) = Some(Lasting::of(&watch.status()));
                seen.changed.notify_all();
                if block_on(watch.changed()).is_err() {
                    return;
                }
            }
        })
    });
    let mut threads = Vec::new();
    for caller in scenario.callers.iter().copied() {
        let (world, session) = (Arc::clone(&world), session.clone());
        threads.push(thread::spawn(move || {
            call(&world, &session, caller);
            read(&world, &session);
        }));
    }
    if scenario.reader {
        let (world, session) = (Arc::clone(&world), session.clone());
        threads.push(thread::spawn(move || (0..3).for_each(|_| read(&world, &session))));
    }
    if !scenario.actions.is_empty() {
        let (world, session) = (Arc::clone(&world), session.clone());
        threads.push(thread::spawn(move || act(&world, &session)));
    }
    join(threads);
    world.end_tasks();
    is_over.store(true, Ordering::SeqCst);
    join(time);

    check_rest(&world, &session);
    recover(&world, &session);
    check_rest(&world, &session);
    if watcher.is_some() {
        // A watcher that slept through a change never sees the last status.
        let last = Lasting::of(&session.status());
        let mut status = lock(&seen.status);
        while status.as_ref() != Some(&last) {
            status = seen.changed.wait(status).expect("no thread panics");
        }
    }
    let mut watch = session.watch();
    drop(session);
    // Only if nothing else holds the session.
    while block_on(watch.changed()).is_ok() {}
    join(watcher);
    let violations = world.violations();
    assert!(violations.is_empty(), "violations: {violations:#?}");
}

/// Fires a timer after every `yields` yields.
fn pass_time(world: &World, yields: u8, is_over: &AtomicBool) {
    loop {
        for _ in 0..yields {
            if is_over.load(Ordering::SeqCst) {
                return;
            }
            thread::yield_now();
        }
        world.fire_next_timer();
    }
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no thread panics");
    }
}

/// A thread that needs a token.
fn call(world: &Arc<World>, session: &Session, caller: Caller) {
    let before = world.observed();
    let future = async {
        match caller.demand {
            Demand::Token => session.token().await,
            Demand::Refresh => session.refresh().await,
            Demand::AfterRejection => {
                let rejected = session.token().await?;
                world.check("token", before, &rejected);
                let newer = session.token_after_rejection(&rejected).await?;
                if newer.generation() <= rejected.generation() || !is_same_user(&newer, &rejected) {
                    let (newer, rejected) = (newer.secret(), rejected.secret());
                    world.violation(format!("{newer} was returned after the rejection of {rejected}"));
                }
                Ok(newer)
            }
        }
    };
    let mut future = pin!(Cancellable::new(Box::pin(future), caller.cancel, world));
    let Some(result) = block_on(&mut future) else { return };
    match result {
        Ok(token) => {
            world.check("call", before, &token);
            // A waiter never gets a token of a later sign-in.
            if future.waits_since.is_some_and(|sign_ins| user(token.secret()) > sign_ins) {
                world.violation(format!(
                    "{} of a later sign-in was returned to a caller that waited",
                    token.secret()
                ));
            }
        }
        Err(error) => world.check_error("call", &error),
    }
}

fn is_same_user(one: &AccessToken, other: &AccessToken) -> bool {
    user(one.secret()) == user(other.secret())
}

/// Reads the published token.
pub(crate) fn read(world: &World, session: &Session) {
    let before = world.observed();
    if let Some(token) = session.with_published(AccessToken::clone) {
        world.check("published", before, &token);
        if token.generation() < before.published_generation {
            world.violation(format!("{} is published after its rejection", token.secret()));
        }
    }
    let before = world.observed();
    if let Some(token) = session.current() {
        world.check("current", before, &token);
    }
}

/// A thread that changes the session.
fn act(world: &Arc<World>, session: &Session) {
    for action in world.scenario.actions.iter().copied() {
        let user = world.sign_ins();
        match action {
            Action::MarkRejected => {
                if let Some(token) = session.try_token() {
                    session.mark_rejected(&token);
                    world.observe_rejection(&token);
                }
            }
            Action::Set => {
                let token = world.token(user, 3600).refresh_token(world.refresh_token(user));
                if let Err(error) = session.set_token(token.build().expect("a valid token")) {
                    world.check_error("set_token", &error);
                }
                world.observe_generation(session.status().generation());
            }
            Action::SignIn => {
                let user = world.begin_sign_in();
                let token = world.token(user, 3600).refresh_token(world.refresh_token(user));
                session.sign_in(token.build().expect("a valid token"));
                world.observe_sign_in(user);
                world.observe_generation(session.status().generation());
            }
            Action::SignOut => {
                drop(session.sign_out());
                world.observe_sign_in(user + 1);
            }
            Action::ResetBackoff => session.reset_backoff(),
            Action::Shutdown => match block_on(session.shutdown(TIMEOUT)) {
                Ok(()) => world.observe_shutdown(),
                Err(error) if error.is_unsaved() => world.observe_shutdown(),
                Err(error) if error.is_shutdown_timeout() && world.scenario.time != Time::StandsStill => {}
                Err(error) => world.violation(format!("shutdown: {error:?}")),
            },
            Action::Abandon => {
                world.suspend();
                let demand = Cancellable::new(Box::pin(session.refresh()), Cancel::Waiting(0), world);
                if let Some(Err(error)) = block_on(demand) {
                    world.check_error("abandon", &error);
                }
            }
            Action::Idle => block_on(session.idle()),
        }
        read(world, session);
    }
}

/// Checks that no waiter and no flight is left.
fn check_rest(world: &World, session: &Session) {
    let status = session.status();
    if status.waiters() != 0 {
        world.violation(format!(
            "{} waiters are still counted after all callers have ended",
            status.waiters()
        ));
    }
    if status.is_refreshing() {
        world.violation("a flight is still in progress after all callers have ended".to_owned());
    }
}

/// The session still works: a call gets a token, and what it holds can be saved.
fn recover(world: &World, session: &Session) {
    world.heal();
    session.reset_backoff();
    let status = session.status();
    if !status.needs_sign_in() && !status.is_shut_down() {
        let before = world.observed();
        match block_on(session.token()) {
            Ok(token) => world.check("recovery", before, &token),
            Err(error) => world.violation(format!("recovery: {error:?}")),
        }
        world.end_tasks();
    }
    match block_on(session.shutdown(TIMEOUT)) {
        Ok(()) => world.check_saved(session),
        // A refresh token alone can't be saved.
        Err(error) if error.is_unsaved() && !status.is_signed_out() && !session.status().has_token() => {}
        Err(error) => world.violation(format!("the last shutdown: {error:?}")),
    }
    world.end_tasks();
    block_on(session.idle());
}

// === impl Lasting ===

impl Lasting {
    fn of(status: &Status) -> Self {
        Self {
            generation: status.generation(),
            is_signed_out: status.is_signed_out(),
            is_grant_ended: status.is_grant_ended(),
            is_shut_down: status.is_shut_down(),
            is_rejected: status.is_rejected(),
            is_unsaved: status.is_unsaved(),
            is_refreshing: status.is_refreshing(),
        }
    }
}

// === impl Cancellable ===

impl<F> Cancellable<F> {
    fn new(future: F, cancel: Cancel, world: &Arc<World>) -> Self {
        Self { future, cancel, waits_since: None, world: Arc::clone(world) }
    }
}

impl<F> Future for Cancellable<F>
where
    F: Future<Output = Result<AccessToken, Error>> + Unpin,
{
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.cancel == Cancel::Unpolled {
            return Poll::Ready(None);
        }
        if let Poll::Ready(result) = Pin::new(&mut self.future).poll(cx) {
            return Poll::Ready(Some(result));
        }
        if self.waits_since.is_none() {
            self.waits_since = Some(self.world.sign_ins());
        }
        match self.cancel {
            Cancel::Waiting(steps) => {
                for _ in 0..steps {
                    step();
                }
                Poll::Ready(None)
            }
            Cancel::Never | Cancel::Unpolled => Poll::Pending,
        }
    }
}
