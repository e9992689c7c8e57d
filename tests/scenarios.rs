//! The table of scenarios on the whole layer: real callers, tasks and timers, with paused time.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panics, have tokio's tasks and timers, and report"
)]

#[path = "support/scenario.rs"]
mod scenario;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use scenario::{
    Action, Driver, Given, Hook, Options, Seen, Standing, Start, event, kind, reason, saved, seconds, shown,
};
use tokio::{
    runtime::Runtime,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_reauth::{
    AccessToken, AuthLayer, Error, MinLifetime, RefreshContext, RefreshError, Session, SkipAuth, Token,
    TokenOptions, WaitTimeout,
    event::{EventKind, Ineffective},
    future::AuthReport,
    refresh::RefreshReason,
    refresh_fn,
    rejection::{Verdict, rejection_fn},
    replay::NoReplay,
    rt::{Clock, NoRuntime, Spawner, Task, TestClock},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Unpolled = Arc<Mutex<Vec<Arc<Mutex<Control>>>>>;
type Client = BoxCloneSyncService<Request<Bytes>, Response<Bytes>, BoxError>;

/// The session, the layer and their environment.
struct Layered {
    runtime: Runtime,
    unpolled: Unpolled,
    start: Instant,
    clock: TestClock,
    session: Session,
    client: Client,
    /// Retries nothing.
    client_without_replay: Client,
    observed: Arc<Mutex<Observed>>,
    tokens: BTreeMap<u64, AccessToken>,
}

#[derive(Default)]
struct Observed {
    callers: Vec<Caller>,
    /// The refresher's calls without a response, the oldest first.
    calls: Vec<(Arc<Mutex<Control>>, oneshot::Sender<Command>)>,
    saves: Vec<oneshot::Sender<Result<(), &'static str>>>,
    /// Those in a task that nobody drives.
    stalled_saves: Vec<oneshot::Sender<Result<(), &'static str>>>,
    revocations: Vec<oneshot::Sender<()>>,
    attempts: BTreeMap<(String, usize), usize>,
    generation: u64,
    seen: Seen,
}

struct Caller {
    who: String,
    index: usize,
    task: Option<JoinHandle<()>>,
    /// Sent, without a response.
    response: Option<oneshot::Sender<Option<u16>>>,
    waits: bool,
    token: Option<AccessToken>,
}

#[derive(Clone)]
struct CallerId(usize);

enum Command {
    Respond(Result<Token, RefreshError>),
    Panic,
    Inside(Action),
}

/// How the test controls a task.
#[derive(Default)]
struct Control {
    stalled: bool,
    gone: bool,
    waker: Option<Waker>,
}

struct Controlled {
    task: Option<Task>,
    control: Arc<Mutex<Control>>,
}

struct TestSpawner {
    ready: bool,
    runtime: tokio::runtime::Handle,
    /// The tasks that haven't been polled, if they are only at the step `polled`.
    unpolled: Option<Unpolled>,
}

thread_local! {
    /// The task that is being polled.
    static CURRENT: RefCell<Option<Arc<Mutex<Control>>>> = const { RefCell::new(None) };
    /// The task that called the refresher last.
    static LAST: RefCell<Option<Arc<Mutex<Control>>>> = const { RefCell::new(None) };
}

impl Future for Controlled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut control = self.control.lock().unwrap();
            control.waker = Some(cx.waker().clone());
            if control.stalled && !control.gone {
                return Poll::Pending;
            }
            if control.gone {
                drop(control);
                self.task = None;
                return Poll::Ready(());
            }
        }
        CURRENT.set(Some(Arc::clone(&self.control)));
        let polled = self.task.as_mut().expect("polled after its end").as_mut().poll(cx);
        CURRENT.set(None);
        polled
    }
}

impl Spawner for TestSpawner {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        if !self.ready {
            return Err(NoRuntime);
        }
        let control = Arc::<Mutex<Control>>::default();
        if let Some(unpolled) = &self.unpolled {
            control.lock().unwrap().stalled = true;
            unpolled.lock().unwrap().push(Arc::clone(&control));
        }
        self.runtime.spawn(Controlled { task: Some(task), control });
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.ready
    }
}

fn command_of(action: &Action) -> Command {
    match action {
        Action::Gives(spec) => Command::Respond(Ok(spec.token())),
        Action::Fails(failure) => Command::Respond(Err(failure.error())),
        Action::Panics => Command::Panic,
        other => panic!("{other:?} is nothing that a refresher does"),
    }
}

impl Observed {
    fn record(&mut self, caller: usize, outcome: String) {
        let Caller { who, index, .. } = &self.callers[caller];
        self.seen.who.insert((who.clone(), *index), outcome);
        self.callers[caller].waits = false;
    }

    fn record_for(&mut self, who: &str, outcome: String) {
        self.seen.who.insert((who.to_owned(), 0), outcome);
    }

    fn members(&self, who: &str) -> Vec<usize> {
        (0..self.callers.len()).filter(|caller| self.callers[*caller].who == who).collect()
    }

    fn join(&mut self, who: &str) -> usize {
        let index = self.members(who).len();
        self.callers.push(Caller {
            who: who.to_owned(),
            index,
            task: None,
            response: None,
            waits: true,
            token: None,
        });
        self.callers.len() - 1
    }
}

fn token_outcome(result: Result<AccessToken, Error>) -> (String, Option<AccessToken>) {
    match result {
        Ok(token) => (format!("use {}", token.secret()), Some(token)),
        Err(error) => (format!("error {}", kind(&error)), None),
    }
}

/// The server. It records each request, and responds when the test says so.
async fn serve(
    observed: Arc<Mutex<Observed>>,
    auto: Option<u16>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, BoxError> {
    let response = {
        let mut observed = observed.lock().unwrap();
        let caller = request.extensions().get::<CallerId>().expect("each request has one").0;
        let headers: Vec<_> = request.headers().get_all(AUTHORIZATION).iter().collect();
        let outcome = match headers[..] {
            [] => "bare".to_owned(),
            [value] if value == "Basic own" => "own".to_owned(),
            [value] => format!("use {}", value.to_str().unwrap().strip_prefix("Bearer ").unwrap()),
            _ => "several headers".to_owned(),
        };
        assert_eq!(request.body(), "body");
        observed.record(caller, outcome);
        let key = (observed.callers[caller].who.clone(), observed.callers[caller].index);
        *observed.attempts.entry(key).or_default() += 1;
        let (sender, receiver) = oneshot::channel();
        match auto {
            Some(status) => sender.send(Some(status)).unwrap(),
            None => observed.callers[caller].response = Some(sender),
        }
        receiver
    };
    let status = response.await?.ok_or("the connection broke")?;
    let mut response = Response::new(Bytes::from_static(b"response"));
    *response.status_mut() = StatusCode::from_u16(status)?;
    Ok(response)
}

fn session_of(
    given: &Given,
    clock: &TestClock,
    spawner: TestSpawner,
    observed: &Arc<Mutex<Observed>>,
) -> Session {
    let refresher = {
        let (observed, auto) = (Arc::clone(observed), given.auto_endpoint.clone());
        refresh_fn(move |cx: RefreshContext| {
            let (observed, auto) = (Arc::clone(&observed), auto.clone());
            async move {
                let mut commands = {
                    let mut observed = observed.lock().unwrap();
                    let call = format!("{} {}", cx.refresh_token().unwrap_or("-"), reason(cx.reason()));
                    observed.seen.asked.push(call);
                    let (sender, receiver) = oneshot::channel();
                    match auto {
                        Some(auto) => {
                            let action = match Action::parse(&auto) {
                                Action::Gives(spec) => Action::Gives(spec.fill(observed.generation + 1)),
                                other => other,
                            };
                            let _ = sender.send(command_of(&action));
                        }
                        None => {
                            let control = CURRENT.with_borrow(|current| current.clone().unwrap());
                            LAST.set(Some(Arc::clone(&control)));
                            observed.calls.push((control, sender));
                        }
                    }
                    receiver
                };
                loop {
                    match commands.await.expect("the test responds") {
                        Command::Respond(result) => return result,
                        Command::Panic => panic!("as the scenario says"),
                        Command::Inside(action) => {
                            let receiver = {
                                let (sender, receiver) = oneshot::channel();
                                let control = CURRENT.with_borrow(|current| current.clone().unwrap());
                                observed.lock().unwrap().calls.push((control, sender));
                                receiver
                            };
                            INSIDE.with_borrow(|inside| inside.clone().unwrap())(action).await;
                            commands = receiver;
                        }
                    }
                }
            }
        })
    };
    let mut builder = Session::builder(refresher)
        .clock(clock.clone())
        .spawner(spawner)
        .refresh_early(given.refresh_early)
        .jitter(given.jitter)
        .random_seed(given.seed)
        .wait_timeout(seconds(given.wait_timeout))
        .wait_through_backoff(given.wait_through_backoff)
        .rejection_wait(seconds(given.rejection_wait))
        .refresh_timeout(seconds(given.refresh_timeout))
        .save_timeout(seconds(given.save_timeout));
    builder = match &given.start {
        Start::Empty => builder,
        Start::RefreshToken(token) => builder.refresh_token(token),
        Start::SignedOut => builder.signed_out(),
        Start::Token(spec) => builder.token(spec.token()),
    };
    if let Some(window) = given.window {
        builder = builder.refresh_window(seconds(window));
    }
    if let Some(margin) = given.margin {
        builder = builder.expiry_margin(seconds(margin));
    }
    if let Some(most) = given.max_waiters {
        builder = builder.max_waiters(most);
    }
    if let Some(hook) = given.save {
        let observed = Arc::clone(observed);
        builder = builder.save_with(move |token: Option<Token>| {
            let (sender, receiver) = oneshot::channel();
            let mut observed = observed.lock().unwrap();
            observed.seen.saved.push(saved(token.as_ref()));
            match hook {
                Hook::Ok => sender.send(Ok(())).unwrap(),
                Hook::Fails => sender.send(Err("fails")).unwrap(),
                Hook::Held => observed.saves.push(sender),
            }
            async move {
                match receiver.await.expect("the test responds") {
                    Err("panics") => panic!("as the scenario says"),
                    result => result,
                }
            }
        });
    }
    let (revoking, revoke) = (Arc::clone(observed), given.revoke);
    builder = builder.revoke_with(move |token: Token| {
        let (sender, receiver) = oneshot::channel();
        let mut observed = revoking.lock().unwrap();
        observed.seen.revoked.push(shown(&token));
        match revoke {
            Hook::Held => observed.revocations.push(sender),
            _ => sender.send(()).unwrap(),
        }
        receiver
    });
    let recorder = Arc::clone(observed);
    builder = builder.on_event(move |happened| {
        let mut observed = recorder.lock().unwrap();
        observed.generation = happened.generation;
        observed.seen.events.extend(event(&happened.kind));
    });
    builder.build()
}

thread_local! {
    static INSIDE: RefCell<Option<InsideFn>> = const { RefCell::new(None) };
}

type InsideFn = Arc<dyn Fn(Action) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Layered {
    fn new(given: &Given) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let entered = runtime.enter();
        let start = Instant::now();
        let clock = TestClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let observed = Arc::<Mutex<Observed>>::default();
        observed.lock().unwrap().generation = u64::from(matches!(given.start, Start::Token(_)));
        let unpolled = Unpolled::default();
        let spawner = TestSpawner {
            ready: given.runtime,
            runtime: runtime.handle().clone(),
            unpolled: given.late_start.then(|| Arc::clone(&unpolled)),
        };
        let session = session_of(given, &clock, spawner, &observed);
        let (server, auto) = (Arc::clone(&observed), given.auto_server);
        let server = service_fn(move |request| serve(Arc::clone(&server), auto, request));
        let rejects = given.rejects.clone();
        let layer = AuthLayer::from_session(session.clone())
            .allow_unauthenticated(given.allow_unauthenticated)
            .rejection_rule(rejection_fn(move |head| match rejects.contains(&head.status().as_u16()) {
                true => Verdict::reject(),
                false => Verdict::Accept,
            }));
        let client = BoxCloneSyncService::new(layer.layer(server.clone()));
        let client_without_replay = BoxCloneSyncService::new(layer.with_replay(NoReplay).layer(server));
        drop(entered);
        let this = Self {
            runtime,
            unpolled,
            start,
            clock,
            session,
            client,
            client_without_replay,
            observed,
            tokens: BTreeMap::new(),
        };
        let (session, client, observed) =
            (this.session.clone(), this.client.clone(), Arc::clone(&this.observed));
        INSIDE.set(Some(Arc::new(move |action| {
            Box::pin(inside(action, session.clone(), client.clone(), Arc::clone(&observed)))
        })));
        this
    }

    /// Runs all tasks until they wait, without time passing.
    fn settle(&mut self) {
        let rounds = 64 + self.observed.lock().unwrap().callers.len() / 16;
        self.runtime.block_on(async {
            for _ in 0..rounds {
                tokio::task::yield_now().await;
            }
        });
        let _entered = self.runtime.enter();
        if let Some(token) = self.session.try_token() {
            self.tokens.insert(token.generation(), token);
        }
    }

    fn token_caller<F>(&self, who: &str, future: F)
    where
        F: Future<Output = Result<AccessToken, Error>> + Send + 'static,
    {
        let caller = self.observed.lock().unwrap().join(who);
        let observed = Arc::clone(&self.observed);
        let task = self.runtime.spawn(async move {
            let (outcome, token) = token_outcome(future.await);
            let mut observed = observed.lock().unwrap();
            observed.record(caller, outcome);
            observed.callers[caller].token = token;
        });
        self.observed.lock().unwrap().callers[caller].task = Some(task);
    }

    fn unit_caller(&self, who: &str, future: impl Future<Output = &'static str> + Send + 'static) {
        let caller = self.observed.lock().unwrap().join(who);
        let observed = Arc::clone(&self.observed);
        self.runtime.spawn(async move {
            let end = future.await;
            observed.lock().unwrap().record(caller, end.to_owned());
        });
    }

    fn call(&self, who: &str, once: bool, skip_auth: bool, own: bool, options: Options) {
        let caller = self.observed.lock().unwrap().join(who);
        let request = request(caller, skip_auth, own, options);
        let client = if once { &self.client_without_replay } else { &self.client };
        let response = client.clone().oneshot(request);
        let observed = Arc::clone(&self.observed);
        let task = self.runtime.spawn(async move {
            let outcome = outcome(response.await);
            observed.lock().unwrap().record(caller, outcome);
        });
        self.observed.lock().unwrap().callers[caller].task = Some(task);
    }

    fn current_call(&self) -> (Arc<Mutex<Control>>, oneshot::Sender<Command>) {
        self.observed.lock().unwrap().calls.pop().expect("a refresher runs")
    }

    fn end_save(&self, end: Result<(), &'static str>) {
        let mut observed = self.observed.lock().unwrap();
        // A save that timed out has no receiver any more.
        observed.saves.retain(|save| !save.is_closed());
        let _ = observed.saves.remove(0).send(end);
    }
}

fn request(caller: usize, skip_auth: bool, own: bool, options: Options) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(b"body"));
    *request.uri_mut() = "https://api.example.com/".parse().unwrap();
    request.extensions_mut().insert(CallerId(caller));
    if skip_auth {
        request.extensions_mut().insert(SkipAuth);
    }
    if own {
        request.headers_mut().insert(AUTHORIZATION, "Basic own".parse().unwrap());
    }
    if let Some(timeout) = options.timeout {
        request.extensions_mut().insert(WaitTimeout::new(seconds(timeout)));
    }
    if let Some(lifetime) = options.min {
        request.extensions_mut().insert(MinLifetime::new(seconds(lifetime)));
    }
    request
}

fn token_options(options: Options) -> TokenOptions {
    let token_options = TokenOptions::new().min_lifetime(seconds(options.min.unwrap_or_default()));
    match options.timeout {
        Some(timeout) => token_options.wait_timeout(seconds(timeout)),
        None => token_options,
    }
}

fn outcome(result: Result<Response<Bytes>, BoxError>) -> String {
    match result {
        Ok(response) => {
            let report = response.extensions().get::<AuthReport>();
            let reason = report.and_then(AuthReport::error).map(|error| format!(" {}", kind(error)));
            format!("response {}{}", response.status().as_u16(), reason.unwrap_or_default())
        }
        Err(error) => match Error::find(&*error) {
            Some(error) => format!("error {}", kind(error)),
            None => "response lost".to_owned(),
        },
    }
}

/// A call from the refresher's own task.
async fn inside(action: Action, session: Session, client: Client, observed: Arc<Mutex<Observed>>) {
    let at_once = async |future: Pin<Box<dyn Future<Output = String> + Send>>| {
        let mut future = future;
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    };
    let (who, outcome) = match action {
        Action::Call { who, options, .. } => {
            let caller = observed.lock().unwrap().join(&who);
            let response = client.oneshot(request(caller, false, false, options));
            let polled = at_once(Box::pin(async { outcome(response.await) })).await;
            if observed.lock().unwrap().callers[caller].response.is_some() {
                // It was sent, and the server has recorded it.
                return;
            }
            (who, polled)
        }
        Action::Token(who, options) => {
            let token = async move { token_outcome(session.token_with(token_options(options)).await).0 };
            (who, at_once(Box::pin(token)).await)
        }
        Action::Refresh(who) => {
            (who, at_once(Box::pin(async move { token_outcome(session.refresh().await).0 })).await)
        }
        other => panic!("{other:?} isn't done inside"),
    };
    let outcome = match outcome {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => "wait".to_owned(),
    };
    observed.lock().unwrap().record_for(&who, outcome);
}

impl Driver for Layered {
    fn advance(&mut self, at: i64) {
        let at = self.start + Duration::from_millis(at.try_into().unwrap());
        self.runtime.block_on(async { sleep_until(at).await });
        self.settle();
    }

    fn perform(&mut self, action: &Action) {
        let handle = self.runtime.handle().clone();
        // Outside the runtime, tokio's time would be the real one.
        let _entered = handle.enter();
        let session = self.session.clone();
        match action.clone() {
            Action::Call { who, count, once, skip_auth, own, options } => {
                for _ in 0..count {
                    self.call(&who, once, skip_auth, own, options);
                }
            }
            Action::Token(who, Options { timeout: None, min: None }) => {
                self.token_caller(&who, async move { session.token().await });
            }
            Action::Token(who, options) => {
                self.token_caller(&who, async move { session.token_with(token_options(options)).await });
            }
            Action::Refresh(who) => self.token_caller(&who, async move { session.refresh().await }),
            Action::Try(who) => {
                let outcome =
                    session.try_token().map_or("none".into(), |token| format!("use {}", token.secret()));
                self.observed.lock().unwrap().record_for(&who, outcome);
            }
            Action::TokenAfterRejection { who, of } => {
                let rejected = {
                    let observed = self.observed.lock().unwrap();
                    let of = observed.members(&of)[0];
                    observed.callers[of].token.clone().expect("it got a token")
                };
                self.token_caller(&who, async move { session.token_after_rejection(&rejected).await });
            }
            Action::Inside(inner) => {
                let (_, call) = self.current_call();
                let _ = call.send(Command::Inside(*inner));
            }
            Action::Drop(who) => {
                let mut observed = self.observed.lock().unwrap();
                for caller in observed.members(&who) {
                    observed.callers[caller].waits = false;
                    if let Some(task) = observed.callers[caller].task.take() {
                        task.abort();
                    }
                }
            }
            Action::Response { who, status } => {
                let responses: Vec<_> = {
                    let mut observed = self.observed.lock().unwrap();
                    let members = observed.members(&who);
                    let sent: Vec<_> = members
                        .into_iter()
                        .filter(|caller| observed.callers[*caller].response.is_some())
                        .collect();
                    for caller in &sent {
                        // Unless something else is recorded in this step.
                        observed.callers[*caller].waits = true;
                    }
                    sent.into_iter().filter_map(|caller| observed.callers[caller].response.take()).collect()
                };
                for response in responses {
                    let _ = response.send(status);
                }
            }
            Action::Gives(_) | Action::Fails(_) | Action::Panics => {
                let (_, call) = self.current_call();
                let _ = call.send(command_of(action));
            }
            Action::Gone | Action::Stalls => {
                let control = {
                    let observed = self.observed.lock().unwrap();
                    match observed.calls.last() {
                        Some((control, _)) => Arc::clone(control),
                        None => LAST.with_borrow(|last| last.clone().expect("a flight runs")),
                    }
                };
                let mut control = control.lock().unwrap();
                control.gone = matches!(action, Action::Gone);
                control.stalled = !control.gone;
                if control.stalled {
                    let mut observed = self.observed.lock().unwrap();
                    let saves = std::mem::take(&mut observed.saves);
                    observed.stalled_saves.extend(saves);
                }
                if let Some(waker) = control.waker.take() {
                    waker.wake();
                }
            }
            Action::Polled => {
                let unpolled = std::mem::take(&mut *self.unpolled.lock().unwrap());
                for control in unpolled {
                    let mut control = control.lock().unwrap();
                    control.stalled = false;
                    if let Some(waker) = control.waker.take() {
                        waker.wake();
                    }
                }
            }
            Action::Late(inner) => {
                let (control, call) = self.observed.lock().unwrap().calls.remove(0);
                let mut control = control.lock().unwrap();
                control.stalled = false;
                if let Some(waker) = control.waker.take() {
                    waker.wake();
                }
                let _ = call.send(command_of(&inner));
            }
            Action::Saved => self.end_save(Ok(())),
            Action::SaveFails => self.end_save(Err("fails")),
            Action::SavePanics => self.end_save(Err("panics")),
            Action::RevokeEnds => {
                let revocation = self.observed.lock().unwrap().revocations.remove(0);
                let _ = revocation.send(());
            }
            Action::Set(spec) => {
                if let Err(error) = session.set_token(spec.token()) {
                    self.observed.lock().unwrap().record_for("set", format!("error {}", kind(&error)));
                }
            }
            Action::SignIn(spec) => session.sign_in(spec.token()),
            Action::SignOut => drop(session.sign_out()),
            Action::MarkRejected(generation) => {
                if let Some(token) = self.tokens.get(&generation) {
                    session.mark_rejected(token);
                }
            }
            Action::ResetBackoff => session.reset_backoff(),
            Action::Shutdown { who, timeout } => self.unit_caller(&who, async move {
                match session.shutdown(seconds(timeout)).await {
                    Ok(()) => "done",
                    Err(error) if error.is_shutdown_timeout() => "timeout",
                    Err(error) if error.is_unsaved() => "unsaved",
                    Err(error) => panic!("{error}"),
                }
            }),
            Action::Idle(who) => self.unit_caller(&who, async move {
                session.idle().await;
                "done"
            }),
            Action::Wall(by) if by < 0.0 => self.clock.step_back(seconds(-by)),
            Action::Wall(by) => self.clock.step(seconds(by)),
            Action::Look => {}
        }
        self.settle();
    }

    fn seen(&mut self) -> Seen {
        let mut observed = self.observed.lock().unwrap();
        let mut seen = std::mem::take(&mut observed.seen);
        for caller in &mut observed.callers {
            // It started to wait in this step, as nothing else was recorded.
            if std::mem::take(&mut caller.waits) && caller.response.is_none() {
                seen.who.entry((caller.who.clone(), caller.index)).or_insert_with(|| "wait".into());
            }
        }
        seen
    }

    fn standing(&mut self) -> Standing {
        let handle = self.runtime.handle().clone();
        let _entered = handle.enter();
        let status = self.session.status();
        let now = self.clock.now();
        let next = status.retry_at().map(|retry_at| {
            let left = retry_at.duration_since(now.wall()).unwrap_or_default();
            (now.monotonic() + left).as_secs_f64()
        });
        Standing {
            state: match () {
                () if status.is_signed_out() => "signed_out",
                () if !status.has_token() && !status.is_signed_out() => "empty",
                () if status.is_fresh() => "fresh",
                () if status.is_stale() => "stale",
                () if status.is_rejected() => "rejected",
                () if status.is_expired() => "expired",
                () => "unknown",
            },
            generation: status.generation(),
            running: status.is_refreshing(),
            grant_ended: status.is_grant_ended(),
            failures: Some(status.consecutive_failures()),
            next,
            refresh: None,
            unsaved: status.is_unsaved(),
        }
    }

    fn most_attempts(&self) -> usize {
        self.observed.lock().unwrap().attempts.values().copied().max().unwrap_or(0)
    }

    fn still_waits(&self, who: &str) -> bool {
        let observed = self.observed.lock().unwrap();
        let members = observed.members(who);
        members.iter().all(|caller| {
            let caller = &observed.callers[*caller];
            caller.response.is_none() && caller.task.as_ref().is_some_and(|task| !task.is_finished())
        })
    }
}

#[test]
fn all_scenarios_hold_on_the_layer() {
    scenario::run_all("the layer", None, 10, Layered::new);
}

macro_rules! promises {
    ($($test:ident $row:literal)*) => {
        $(#[test]
        fn $test() {
            scenario::run_all("the layer", Some($row), 1, Layered::new);
        })*
    };
}

promises! {
    p01_one_flight "p01"
    p02_refresh_tokens_are_presented_once "p02"
    p03_cancelling_cancels_nothing_else "p03"
    p04_late_rejections_are_harmless "p04"
    p05_no_loops_and_no_storms "p05"
    p06_a_stale_token_never_makes_a_caller_wait "p06"
    p07_transient_failure_is_shared_and_paced "p07"
    p08_an_ended_grant_ends_the_session_once "p08"
    p09_panics_and_lost_runtimes_are_errors "p09"
    p10_sign_in_and_sign_out_win "p10"
    p12_a_refresh_that_needs_itself_is_an_error "p12"
    p13_sleep_and_clock_steps_are_survived "p13"
    p17_shutdown_waits_for_saves "p17"
    p18_unknown_outcomes_are_repeated_once "p18"
    d01_a_flight_presents_nothing_once_it_is_unwanted "d01"
    d02_a_flights_timeout_counts_from_its_start "d02"
    d03_a_save_that_nobody_drives_is_given_up_and_handed_over "d03"
    d05_idle_is_bounded_by_the_timeouts_of_what_runs "d05"
    d09_another_sign_ins_flight_gives_way_to_a_demand "d09"
    d10_a_failure_counts_though_the_refresh_token_was_replaced "d10"
    d13_what_is_saved_last_is_what_the_session_holds "d13"
    d14_the_last_users_token_is_never_saved_after_a_sign_in "d14"
    d16_an_empty_refresh_token_counts_as_none "d16"
    d20_a_later_expiry_of_the_same_token_renews_it "d20"
    d21_an_unchanged_token_stays_due "d21"
    d22_new_requests_wait_after_a_rejection_unless_refreshes_keep_failing "d22"
    d23_nobody_comes_back_before_a_retry_after "d23"
    d24_one_growing_delay_for_failures_of_every_kind "d24"
}
