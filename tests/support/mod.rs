//! What the tests share: a refresher, sessions, tokens, requests and a clock, all controlled by the test.
#![allow(dead_code, reason = "each binary uses a part of it")]

pub(crate) mod printed;
mod refresher;

use std::{
    error::Error as StdError,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::Request;
use tokio::task::JoinHandle;
use tower_reauth::{
    AccessToken, Error, Refresher, Session, SessionBuilder, Token,
    rt::{NoRuntime, Spawner, Task, TestClock},
};

#[allow(unused_imports, reason = "each binary uses a part of it")]
pub(crate) use refresher::{Call, Endpoint, endpoint};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Spawns each task on the same runtime, whatever runtime the caller is on.
pub(crate) struct OnRuntime(pub(crate) tokio::runtime::Handle);

/// The tokens that a hook was called with, in order.
#[derive(Clone, Default)]
pub(crate) struct RecordedTokens(Arc<Mutex<Vec<String>>>);

/// A token, written `A1 R1 600`; `-` stands for none or unknown.
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

/// A clock that the test moves. To be made in a runtime with paused time.
pub(crate) fn clock() -> TestClock {
    TestClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
}

/// A session without jitter whose token has expired.
pub(crate) fn expired(refresher: impl Refresher) -> SessionBuilder {
    Session::builder(refresher).token(token("A1 R1 0")).jitter(false).clock(clock())
}

/// A task that waits for `token()`.
pub(crate) fn spawn_token(session: &Session) -> JoinHandle<Result<AccessToken, Error>> {
    let session = session.clone();
    tokio::spawn(async move { session.token().await })
}

/// A task that waits for `refresh()`.
pub(crate) fn spawn_refresh(session: &Session) -> JoinHandle<Result<AccessToken, Error>> {
    let session = session.clone();
    tokio::spawn(async move { session.refresh().await })
}

/// An error, its source, the source of that, and so on.
pub(crate) fn sources<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

pub(crate) fn get() -> Request<()> {
    get_from("https://api.example.com/")
}

pub(crate) fn get_from(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

/// Lets all other tasks of a current-thread runtime run until they wait, without time passing.
pub(crate) async fn run_pending_tasks() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

// === impl OnRuntime ===

impl Spawner for OnRuntime {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        self.0.spawn(task);
        Ok(())
    }
}

// === impl RecordedTokens ===

impl RecordedTokens {
    /// A save hook that records its token and succeeds.
    pub(crate) fn hook(
        &self,
    ) -> impl Fn(Option<Token>) -> Ready<Result<(), BoxError>> + Send + Sync + 'static {
        let recorded = self.clone();
        move |token| {
            recorded.push(token.as_ref());
            ready(Ok(()))
        }
    }

    /// Records a token; `-` stands for none.
    pub(crate) fn push(&self, token: Option<&Token>) {
        let shown =
            |token: &Token| format!("{} {}", token.access_token(), token.refresh_token().unwrap_or("-"));
        self.0.lock().unwrap().push(token.map_or("-".to_owned(), shown));
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
