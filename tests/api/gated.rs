//! A service that becomes ready when the test says so.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use http::{Request, Response, StatusCode};
use tokio::task::JoinHandle;
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{AuthLayer, Session};

use crate::support::{BoxError, Endpoint, get, run_pending_tasks};

/// A request under way.
pub(crate) type Call = JoinHandle<Result<Response<()>, BoxError>>;

/// Ready while the gate is open. It rejects A1 and accepts all other tokens.
#[derive(Clone)]
pub(crate) struct Gated {
    gate: Arc<Mutex<Gate>>,
}

struct Gate {
    is_open: bool,
    wakers: Vec<Waker>,
    received: Vec<String>,
}

// === impl Gated ===

impl Gated {
    /// The gate is open.
    pub(crate) fn new() -> Self {
        let gate = Gate { is_open: true, wakers: Vec::new(), received: Vec::new() };
        Self { gate: Arc::new(Mutex::new(gate)) }
    }

    pub(crate) fn close(&self) {
        self.gate.lock().unwrap().is_open = false;
    }

    pub(crate) fn open(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.is_open = true;
        gate.wakers.drain(..).for_each(Waker::wake);
    }

    /// The `Authorization` headers of the requests so far.
    pub(crate) fn received(&self) -> Vec<String> {
        self.gate.lock().unwrap().received.clone()
    }
}

impl Service<Request<()>> for Gated {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut gate = self.gate.lock().unwrap();
        if gate.is_open {
            return Poll::Ready(Ok(()));
        }
        gate.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let header = request.headers()["authorization"].to_str().unwrap().to_owned();
        let mut response = Response::new(());
        if header == "Bearer A1" {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        self.gate.lock().unwrap().received.push(header);
        std::future::ready(Ok(response))
    }
}

/// A request that got A2 and waits for the inner service to become ready.
pub(crate) async fn waiting_with_a2(session: &Session, endpoint: &mut Endpoint, gated: &Gated) -> Call {
    let mut client = AuthLayer::from_session(session.clone()).layer(gated.clone());
    let request = tokio::spawn(client.ready().await.unwrap().call(get()));
    let call = endpoint.next_call().await;
    gated.close();
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    request
}
