//! A refresher whose every call waits for the test to respond.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, oneshot};
use tower_reauth::{RefreshContext, RefreshError, Refresher, Token, refresh_fn};

use super::token;

/// The other side of a refresher.
pub(crate) struct Endpoint {
    calls: mpsc::UnboundedReceiver<Call>,
    count: Arc<AtomicUsize>,
}

/// A refresher's call that waits for its response.
pub(crate) struct Call {
    pub(crate) cx: RefreshContext,
    response: oneshot::Sender<Response>,
}

enum Response {
    Result(Result<Token, RefreshError>),
    Panic(&'static str),
}

/// A refresher and its other side.
pub(crate) fn endpoint() -> (impl Refresher, Endpoint) {
    let (sender, calls) = mpsc::unbounded_channel();
    let count = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&count);
    let refresher = refresh_fn(move |cx: RefreshContext| {
        let (response, receiver) = oneshot::channel();
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = sender.send(Call { cx, response });
        async move {
            match receiver.await.expect("the test responds") {
                Response::Result(result) => result,
                Response::Panic(message) => panic!("{message}"),
            }
        }
    });
    (refresher, Endpoint { calls, count })
}

// === impl Endpoint ===

impl Endpoint {
    /// Waits for the refresher's next call.
    pub(crate) async fn next_call(&mut self) -> Call {
        self.calls.recv().await.expect("the refresher exists")
    }

    /// How often the refresher was called.
    pub(crate) fn call_count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

// === impl Call ===

impl Call {
    /// Returns a token, written as in `token`.
    pub(crate) fn succeed(self, spec: &str) {
        self.return_token(token(spec));
    }

    pub(crate) fn return_token(self, token: Token) {
        self.respond(Response::Result(Ok(token)));
    }

    pub(crate) fn fail(self, error: RefreshError) {
        self.respond(Response::Result(Err(error)));
    }

    pub(crate) fn panic(self, message: &'static str) {
        self.respond(Response::Panic(message));
    }

    /// Whether the refresher's future was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.response.is_closed()
    }

    fn respond(self, response: Response) {
        let _ = self.response.send(response);
    }
}
