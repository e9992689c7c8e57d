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
use scenario::{Action, Driver, Failure, Given, Hook, Seen, Standing, Start, TokenSpec, event, kind, reason};
use tokio::{
    runtime::Runtime,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_reauth::{
    AccessToken, AuthLayer, Error, RefreshContext, RefreshError, Session, SkipAuth, Token, WaitTimeout,
    event::{EventKind, Ineffective},
    future::AuthReport,
    refresh::RefreshReason,
    refresh_fn,
    rejection::{ResponseHead, Verdict},
    replay::NoReplay,
    rt::{Clock, NoRuntime, Spawner, Task, TestClock},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Client = BoxCloneSyncService<Request<Bytes>, Response<Bytes>, BoxError>;

/// The session, the layer and their environment.
struct Layered {
    runtime: Runtime,
    start: Instant,
    clock: TestClock,
    session: Session,
    client: Client,
    /// Retries nothing.
    client_of_once: Client,
    stage: Arc<Mutex<Stage>>,
    tokens: BTreeMap<u64, AccessToken>,
}

#[derive(Default)]
struct Stage {
    callers: Vec<Caller>,
    /// The refresher's calls without a response, the oldest first.
    calls: Vec<(Arc<Mutex<Control>>, oneshot::Sender<Command>)>,
    saves: Vec<oneshot::Sender<Result<(), &'static str>>>,
    revocations: Vec<oneshot::Sender<()>>,
    sendings: BTreeMap<(String, usize), usize>,
    generation: u64,
    seen: Seen,
}

struct Caller {
    who: String,
    index: usize,
    task: Option<JoinHandle<()>>,
    /// Sent, without a response.
    answer: Option<oneshot::Sender<Option<u16>>>,
    waits: bool,
    given: Option<AccessToken>,
}

#[derive(Clone)]
struct CallerId(usize);

enum Command {
    Answer(Result<Token, RefreshError>),
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

struct StageSpawn {
    ready: bool,
    runtime: tokio::runtime::Handle,
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

impl Spawner for StageSpawn {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        if !self.ready {
            return Err(NoRuntime);
        }
        self.runtime.spawn(Controlled { task: Some(task), control: Arc::default() });
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.ready
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

fn token_of(spec: &TokenSpec) -> Token {
    let mut builder = Token::builder(&spec.access);
    if let Some(refresh) = &spec.refresh {
        builder = builder.refresh_token(refresh);
    }
    if let Some(life) = spec.life {
        builder = builder.expires_in(seconds(life));
    }
    if let Some(until) = spec.until {
        builder = builder.expires_at(SystemTime::UNIX_EPOCH + seconds(until));
    }
    if let Some(refresh_at) = spec.refresh_at {
        builder = builder.refresh_in(seconds(refresh_at));
    }
    builder.build().unwrap()
}

fn error_of(failure: &Failure) -> RefreshError {
    let error = match failure.kind.as_str() {
        "transient" => RefreshError::transient("transient"),
        "unknown" => RefreshError::outcome_unknown("unknown"),
        "configuration" => RefreshError::misconfigured("configuration"),
        "ended" => RefreshError::grant_ended("ended"),
        other => panic!("unknown failure {other}"),
    };
    match failure.retry_after {
        Some(wait) => error.with_retry_after(seconds(wait)),
        None => error,
    }
}

fn answer_of(action: &Action) -> Command {
    match action {
        Action::Gives(spec) => Command::Answer(Ok(token_of(spec))),
        Action::Fails(failure) => Command::Answer(Err(error_of(failure))),
        Action::Panics => Command::Panic,
        other => panic!("{other:?} is nothing that a refresher does"),
    }
}

fn shown(token: &Token) -> String {
    format!("{} {}", token.access_token(), token.refresh_token().unwrap_or("-"))
}

impl Stage {
    fn say(&mut self, caller: usize, course: String) {
        let Caller { who, index, .. } = &self.callers[caller];
        self.seen.who.insert((who.clone(), *index), course);
        self.callers[caller].waits = false;
    }

    fn say_of(&mut self, who: &str, course: String) {
        self.seen.who.insert((who.to_owned(), 0), course);
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
            answer: None,
            waits: true,
            given: None,
        });
        self.callers.len() - 1
    }
}

fn course_of(result: Result<AccessToken, Error>) -> (String, Option<AccessToken>) {
    match result {
        Ok(token) => (format!("use {}", token.secret()), Some(token)),
        Err(error) => (format!("error {}", kind(&error)), None),
    }
}

/// The server. It records each request, and responds when the test says so.
async fn serve(
    stage: Arc<Mutex<Stage>>,
    auto: Option<u16>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, BoxError> {
    let answer = {
        let mut stage = stage.lock().unwrap();
        let caller = request.extensions().get::<CallerId>().expect("each request has one").0;
        let headers: Vec<_> = request.headers().get_all(AUTHORIZATION).iter().collect();
        let course = match headers[..] {
            [] => "bare".to_owned(),
            [value] if value == "Basic own" => "own".to_owned(),
            [value] => format!("use {}", value.to_str().unwrap().strip_prefix("Bearer ").unwrap()),
            _ => "several headers".to_owned(),
        };
        assert_eq!(request.body(), "body");
        stage.say(caller, course);
        let key = (stage.callers[caller].who.clone(), stage.callers[caller].index);
        *stage.sendings.entry(key).or_default() += 1;
        let (sender, receiver) = oneshot::channel();
        match auto {
            Some(status) => sender.send(Some(status)).unwrap(),
            None => stage.callers[caller].answer = Some(sender),
        }
        receiver
    };
    let status = answer.await?.ok_or("the connection broke")?;
    let mut response = Response::new(Bytes::from_static(b"answer"));
    *response.status_mut() = StatusCode::from_u16(status)?;
    Ok(response)
}

fn session_of(given: &Given, clock: &TestClock, runtime: &Runtime, stage: &Arc<Mutex<Stage>>) -> Session {
    let refresher = {
        let (stage, auto) = (Arc::clone(stage), given.auto_endpoint.clone());
        refresh_fn(move |cx: RefreshContext| {
            let (stage, auto) = (Arc::clone(&stage), auto.clone());
            async move {
                let mut commands = {
                    let mut stage = stage.lock().unwrap();
                    let asked = format!("{} {}", cx.refresh_token().unwrap_or("-"), reason(cx.reason()));
                    stage.seen.asked.push(asked);
                    let (sender, receiver) = oneshot::channel();
                    match auto {
                        Some(auto) => {
                            let action = match Action::parse(&auto) {
                                Action::Gives(spec) => Action::Gives(spec.fill(stage.generation + 1)),
                                other => other,
                            };
                            let _ = sender.send(answer_of(&action));
                        }
                        None => {
                            let control = CURRENT.with_borrow(|current| current.clone().unwrap());
                            LAST.set(Some(Arc::clone(&control)));
                            stage.calls.push((control, sender));
                        }
                    }
                    receiver
                };
                loop {
                    match commands.await.expect("the test responds") {
                        Command::Answer(answer) => return answer,
                        Command::Panic => panic!("as the scenario says"),
                        Command::Inside(action) => {
                            let receiver = {
                                let (sender, receiver) = oneshot::channel();
                                let control = CURRENT.with_borrow(|current| current.clone().unwrap());
                                stage.lock().unwrap().calls.push((control, sender));
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
        .spawner(StageSpawn { ready: given.runtime, runtime: runtime.handle().clone() })
        .refresh_early(given.early)
        .jitter(given.jitter)
        .random_seed(given.seed)
        .wait_timeout(seconds(given.patience))
        .rejection_wait(seconds(given.new_wait))
        .refresh_timeout(seconds(given.limit))
        .save_timeout(seconds(given.save_timeout));
    builder = match &given.start {
        Start::Empty => builder,
        Start::RefreshToken(token) => builder.refresh_token(token),
        Start::SignedOut => builder.signed_out(),
        Start::Token(spec) => builder.token(token_of(spec)),
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
    if let Some(save) = given.save {
        let stage = Arc::clone(stage);
        builder = builder.save_with(move |token: Token| {
            let (sender, receiver) = oneshot::channel();
            let mut stage = stage.lock().unwrap();
            stage.seen.saved.push(shown(&token));
            match save {
                Hook::Ok => sender.send(Ok(())).unwrap(),
                Hook::Fails => sender.send(Err("fails")).unwrap(),
                Hook::Held => stage.saves.push(sender),
            }
            async move {
                match receiver.await.expect("the test responds") {
                    Err("panics") => panic!("as the scenario says"),
                    result => result,
                }
            }
        });
    }
    let (revoking, revoke) = (Arc::clone(stage), given.revoke);
    builder = builder.revoke_with(move |token: Token| {
        let (sender, receiver) = oneshot::channel();
        let mut stage = revoking.lock().unwrap();
        stage.seen.revoked.push(shown(&token));
        match revoke {
            Hook::Held => stage.revocations.push(sender),
            _ => sender.send(()).unwrap(),
        }
        receiver
    });
    let told = Arc::clone(stage);
    builder = builder.on_event(move |happened| {
        let mut stage = told.lock().unwrap();
        stage.generation = happened.generation;
        stage.seen.events.extend(event(&happened.kind));
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
        let stage = Arc::<Mutex<Stage>>::default();
        stage.lock().unwrap().generation = u64::from(matches!(given.start, Start::Token(_)));
        let session = session_of(given, &clock, &runtime, &stage);
        let (server, auto) = (Arc::clone(&stage), given.auto_server);
        let server = service_fn(move |request| serve(Arc::clone(&server), auto, request));
        let rejects = given.rejects.clone();
        let layer = AuthLayer::from_session(session.clone())
            .allow_unauthenticated(given.bare)
            .rejection_rule(move |head: &ResponseHead<'_>| match rejects.contains(&head.status().as_u16()) {
                true => Verdict::reject(),
                false => Verdict::Accept,
            });
        let client = BoxCloneSyncService::new(layer.layer(server.clone()));
        let client_of_once = BoxCloneSyncService::new(layer.with_replay(NoReplay).layer(server));
        drop(entered);
        let this =
            Self { runtime, start, clock, session, client, client_of_once, stage, tokens: BTreeMap::new() };
        let (session, client, stage) = (this.session.clone(), this.client.clone(), Arc::clone(&this.stage));
        INSIDE.set(Some(Arc::new(move |action| {
            Box::pin(inside(action, session.clone(), client.clone(), Arc::clone(&stage)))
        })));
        this
    }

    /// Runs all tasks until they wait, without time passing.
    fn settle(&mut self) {
        let rounds = 64 + self.stage.lock().unwrap().callers.len() / 16;
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
        let caller = self.stage.lock().unwrap().join(who);
        let stage = Arc::clone(&self.stage);
        let task = self.runtime.spawn(async move {
            let (course, given) = course_of(future.await);
            let mut stage = stage.lock().unwrap();
            stage.say(caller, course);
            stage.callers[caller].given = given;
        });
        self.stage.lock().unwrap().callers[caller].task = Some(task);
    }

    fn unit_caller(&self, who: &str, future: impl Future<Output = &'static str> + Send + 'static) {
        let caller = self.stage.lock().unwrap().join(who);
        let stage = Arc::clone(&self.stage);
        self.runtime.spawn(async move {
            let end = future.await;
            stage.lock().unwrap().say(caller, end.to_owned());
        });
    }

    fn call(&self, who: &str, once: bool, no_token: bool, own: bool, patience: Option<f64>) {
        let caller = self.stage.lock().unwrap().join(who);
        let request = request(caller, no_token, own, patience);
        let client = if once { &self.client_of_once } else { &self.client };
        let response = client.clone().oneshot(request);
        let stage = Arc::clone(&self.stage);
        let task = self.runtime.spawn(async move {
            let course = outcome(response.await);
            stage.lock().unwrap().say(caller, course);
        });
        self.stage.lock().unwrap().callers[caller].task = Some(task);
    }

    fn current_call(&self) -> (Arc<Mutex<Control>>, oneshot::Sender<Command>) {
        self.stage.lock().unwrap().calls.pop().expect("a refresher runs")
    }

    fn end_save(&self, end: Result<(), &'static str>) {
        let mut stage = self.stage.lock().unwrap();
        // A save that timed out has no receiver any more.
        stage.saves.retain(|save| !save.is_closed());
        let _ = stage.saves.remove(0).send(end);
    }
}

fn request(caller: usize, no_token: bool, own: bool, patience: Option<f64>) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(b"body"));
    *request.uri_mut() = "https://api.example.com/".parse().unwrap();
    request.extensions_mut().insert(CallerId(caller));
    if no_token {
        request.extensions_mut().insert(SkipAuth);
    }
    if own {
        request.headers_mut().insert(AUTHORIZATION, "Basic own".parse().unwrap());
    }
    if let Some(patience) = patience {
        request.extensions_mut().insert(WaitTimeout(seconds(patience)));
    }
    request
}

fn outcome(result: Result<Response<Bytes>, BoxError>) -> String {
    match result {
        Ok(response) => {
            let report = response.extensions().get::<AuthReport>();
            let reason = report.and_then(AuthReport::error).map(|error| format!(" {}", kind(error)));
            format!("answer {}{}", response.status().as_u16(), reason.unwrap_or_default())
        }
        Err(error) => match Error::find(&*error) {
            Some(error) => format!("error {}", kind(error)),
            None => "answer lost".to_owned(),
        },
    }
}

/// A call from the refresher's own task.
async fn inside(action: Action, session: Session, client: Client, stage: Arc<Mutex<Stage>>) {
    let at_once = async |future: Pin<Box<dyn Future<Output = String> + Send>>| {
        let mut future = future;
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    };
    let (who, course) = match action {
        Action::Call { who, .. } => {
            let caller = stage.lock().unwrap().join(&who);
            let response = client.oneshot(request(caller, false, false, None));
            (who, at_once(Box::pin(async { outcome(response.await) })).await)
        }
        Action::Token(who) => {
            (who, at_once(Box::pin(async move { course_of(session.token().await).0 })).await)
        }
        Action::RefreshNow(who) => {
            (who, at_once(Box::pin(async move { course_of(session.refresh().await).0 })).await)
        }
        other => panic!("{other:?} isn't done inside"),
    };
    let course = match course {
        Poll::Ready(course) => course,
        Poll::Pending => "wait".to_owned(),
    };
    stage.lock().unwrap().say_of(&who, course);
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
            Action::Call { who, count, once, no_token, own, patience } => {
                for _ in 0..count {
                    self.call(&who, once, no_token, own, patience);
                }
            }
            Action::Token(who) => self.token_caller(&who, async move { session.token().await }),
            Action::RefreshNow(who) => self.token_caller(&who, async move { session.refresh().await }),
            Action::Try(who) => {
                let course =
                    session.try_token().map_or("none".into(), |token| format!("use {}", token.secret()));
                self.stage.lock().unwrap().say_of(&who, course);
            }
            Action::TokenAfter { who, of } => {
                let refused = {
                    let stage = self.stage.lock().unwrap();
                    let of = stage.members(&of)[0];
                    stage.callers[of].given.clone().expect("it got a token")
                };
                self.token_caller(&who, async move { session.token_after_rejection(&refused).await });
            }
            Action::Inside(inner) => {
                let (_, call) = self.current_call();
                let _ = call.send(Command::Inside(*inner));
            }
            Action::Drop(who) => {
                let mut stage = self.stage.lock().unwrap();
                for caller in stage.members(&who) {
                    stage.callers[caller].waits = false;
                    if let Some(task) = stage.callers[caller].task.take() {
                        task.abort();
                    }
                }
            }
            Action::Answer { who, status } => {
                let answers: Vec<_> = {
                    let mut stage = self.stage.lock().unwrap();
                    let members = stage.members(&who);
                    let answered: Vec<_> = members
                        .into_iter()
                        .filter(|caller| stage.callers[*caller].answer.is_some())
                        .collect();
                    for caller in &answered {
                        // Unless something else is recorded in this step.
                        stage.callers[*caller].waits = true;
                    }
                    answered.into_iter().filter_map(|caller| stage.callers[caller].answer.take()).collect()
                };
                for answer in answers {
                    let _ = answer.send(status);
                }
            }
            Action::Gives(_) | Action::Fails(_) | Action::Panics => {
                let (_, call) = self.current_call();
                let _ = call.send(answer_of(action));
            }
            Action::Gone | Action::Stalls => {
                let control = {
                    let stage = self.stage.lock().unwrap();
                    match stage.calls.last() {
                        Some((control, _)) => Arc::clone(control),
                        None => LAST.with_borrow(|last| last.clone().expect("a flight runs")),
                    }
                };
                let mut control = control.lock().unwrap();
                control.gone = matches!(action, Action::Gone);
                control.stalled = !control.gone;
                if let Some(waker) = control.waker.take() {
                    waker.wake();
                }
            }
            Action::Late(inner) => {
                let (control, call) = self.stage.lock().unwrap().calls.remove(0);
                let mut control = control.lock().unwrap();
                control.stalled = false;
                if let Some(waker) = control.waker.take() {
                    waker.wake();
                }
                let _ = call.send(answer_of(&inner));
            }
            Action::Saved => self.end_save(Ok(())),
            Action::SaveFails => self.end_save(Err("fails")),
            Action::SavePanics => self.end_save(Err("panics")),
            Action::RevokeEnds => {
                let revocation = self.stage.lock().unwrap().revocations.remove(0);
                let _ = revocation.send(());
            }
            Action::Set(spec) => {
                if let Err(error) = session.set_token(token_of(&spec)) {
                    self.stage.lock().unwrap().say_of("set", format!("error {}", kind(&error)));
                }
            }
            Action::SignIn(spec) => session.sign_in(token_of(&spec)),
            Action::SignOut => drop(session.sign_out()),
            Action::Invalidate(generation) => {
                if let Some(token) = self.tokens.get(&generation) {
                    session.mark_rejected(token);
                }
            }
            Action::RetryNow => session.reset_backoff(),
            Action::Shutdown { who, limit } => self.unit_caller(&who, async move {
                match session.shutdown(seconds(limit)).await {
                    Ok(()) => "done",
                    Err(error) if error.is_shutdown_timeout() => "limit",
                    Err(error) if error.is_unsaved() => "unsaved",
                    Err(error) => panic!("{error}"),
                }
            }),
            Action::Settled(who) => self.unit_caller(&who, async move {
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
        let mut stage = self.stage.lock().unwrap();
        let mut seen = std::mem::take(&mut stage.seen);
        for caller in &mut stage.callers {
            // It started to wait in this step, as nothing else was recorded.
            if std::mem::take(&mut caller.waits) && caller.answer.is_none() {
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
                () if status.is_rejected() => "refused",
                () if status.is_expired() => "expired",
                () => "unknown",
            },
            generation: status.generation(),
            running: status.is_refreshing(),
            ended: status.is_grant_ended(),
            failures: status.consecutive_failures(),
            next,
            refresh: None,
            unsaved: status.is_unsaved(),
        }
    }

    fn most_sendings(&self) -> usize {
        self.stage.lock().unwrap().sendings.values().copied().max().unwrap_or(0)
    }

    fn still_waits(&self, who: &str) -> bool {
        let stage = self.stage.lock().unwrap();
        let members = stage.members(who);
        members.iter().all(|caller| {
            let caller = &stage.callers[*caller];
            caller.answer.is_none() && caller.task.as_ref().is_some_and(|task| !task.is_finished())
        })
    }
}

/// Runs the scenarios of one row, or all of them.
fn hold(row: Option<&str>) {
    let mut failures = Vec::new();
    let mut run = 0;
    for scenario in scenario::scenarios() {
        if row.is_some_and(|row| !scenario.rows.iter().any(|own| own == row)) {
            continue;
        }
        run += 1;
        let outcome = std::panic::catch_unwind(|| {
            let mut layered = Layered::new(&scenario.given);
            scenario::run(&scenario, &mut layered)
        });
        let difference = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(difference)) => difference,
            Err(_) => "panicked".to_owned(),
        };
        failures.push(format!("{} {:?}\n    {difference}", scenario.name, scenario.rows));
    }
    println!("scenarios on the layer: {run} run, {} failed", failures.len());
    assert!(run > 0, "no scenario has this row");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn all_scenarios_hold_on_the_layer() {
    hold(None);
}

macro_rules! promises {
    ($($test:ident $row:literal)*) => {
        $(#[test]
        fn $test() {
            hold(Some($row));
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
}
