//! A token endpoint in the test's hands, and short ways to say things.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use tokio::sync::{mpsc, oneshot};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Session, SessionBuilder, Token, refresh_fn,
    rt::{NoRuntime, Spawner, Task, TestClock},
};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The other side of a refresher: each of its calls waits here for the test's answer.
pub(crate) struct Endpoint {
    calls: mpsc::UnboundedReceiver<Call>,
    asked: Arc<AtomicUsize>,
}

/// A refresher's call that isn't answered yet.
pub(crate) struct Call {
    pub(crate) cx: RefreshContext,
    answer: oneshot::Sender<Answer>,
}

enum Answer {
    Result(Result<Token, RefreshError>),
    Panic(&'static str),
}

/// Runs tasks on one runtime, whoever spawns them.
pub(crate) struct OnRuntime(pub(crate) tokio::runtime::Handle);

impl Endpoint {
    /// Waits for the refresher's next call.
    pub(crate) async fn call(&mut self) -> Call {
        self.calls.recv().await.expect("the refresher is there")
    }

    /// How often the refresher was called.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Call {
    /// Answers with a token, spelt `A2 R2 600`.
    pub(crate) fn give(self, spec: &str) {
        self.answer(Ok(token(spec)));
    }

    pub(crate) fn fail(self, error: RefreshError) {
        self.answer(Err(error));
    }

    pub(crate) fn panic(self, message: &'static str) {
        let _ = self.answer.send(Answer::Panic(message));
    }

    /// Whether the refresher was dropped meanwhile.
    pub(crate) fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    fn answer(self, result: Result<Token, RefreshError>) {
        let _ = self.answer.send(Answer::Result(result));
    }
}

impl Spawner for OnRuntime {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        self.0.spawn(task);
        Ok(())
    }
}

/// A refresher and its other side.
pub(crate) fn endpoint() -> (impl Refresher, Endpoint) {
    let (sender, calls) = mpsc::unbounded_channel();
    let asked = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&asked);
    let refresher = refresh_fn(move |cx: RefreshContext| {
        let (answer, answered) = oneshot::channel();
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = sender.send(Call { cx, answer });
        async move {
            match answered.await.expect("the test answers") {
                Answer::Result(result) => result,
                Answer::Panic(message) => panic!("{message}"),
            }
        }
    });
    (refresher, Endpoint { calls, asked })
}

/// A token spelt `A1 R1 600`; `-` stands for none or unknown.
pub(crate) fn token(spec: &str) -> Token {
    let words: Vec<_> = spec.split(' ').collect();
    let mut builder = Token::builder(words[0]);
    if words[1] != "-" {
        builder = builder.refresh_token(words[1]);
    }
    if words[2] != "-" {
        builder = builder.expires_in(Duration::from_secs_f64(words[2].parse().expect("seconds")));
    }
    builder.build().expect("a token")
}

/// A clock in the test's hands; to be made in a runtime whose time is paused.
pub(crate) fn clock() -> TestClock {
    TestClock::new(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
}

/// A session whose token has expired, without jitter.
pub(crate) fn expired(refresher: impl Refresher) -> SessionBuilder {
    Session::builder(refresher).token(token("A1 R1 0")).jitter(false).clock(clock())
}

pub(crate) fn get() -> Request<()> {
    get_from("https://api.example.com/")
}

pub(crate) fn get_from(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

/// Lets all other tasks of a current-thread runtime run, without time passing.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// What a hook was given, in order.
#[derive(Clone, Default)]
pub(crate) struct Given(Arc<Mutex<Vec<String>>>);

impl Given {
    pub(crate) fn push(&self, token: &Token) {
        let shown = format!("{} {}", token.access_token(), token.refresh_token().unwrap_or("-"));
        self.0.lock().unwrap().push(shown);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
