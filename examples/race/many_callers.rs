//! The third run: thousands of callers through the layer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_reauth::{
    Session,
    event::{Event, EventKind},
};

use crate::{
    BoxError,
    api::{self, CALLS, Request, Response},
    counts::{Run, Totals},
    layered::{TokenEndpoint, log_outcome, status},
    response_order::RespondAfter,
    setup::Setup,
    step::Step,
    timeline::{Timeline, Who, grouped},
};

/// Prints the progress of the callers at each quarter, and records each hundredth for the picture.
#[derive(Clone)]
pub(crate) struct Progress {
    timeline: Timeline,
    callers: usize,
    succeeded: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    /// Notified at each event of the session.
    event: Arc<Notify>,
}

const TITLE: &str = "With the layer: one refresh for many callers";
const CAPTION: &str = "The server responds to the refresh once all callers are waiting for it.";
pub(crate) const CLONES: usize = 8;
/// The concurrency limit. A request that waits for a token releases its permit; otherwise the callers could
/// never all wait at once.
pub(crate) const CONCURRENT_REQUESTS: usize = 100;
/// The limit over HTTP/1, where each request needs a connection.
const CONNECTIONS: usize = 16;
const ALL_WAITING_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(setup: &Setup, callers: usize) -> Result<Run, BoxError> {
    let timeline = Timeline::new(&format!("{TITLE} ({}, {CLONES} clones of the client)", grouped(callers)));
    let pair = setup.sign_in(&timeline).await?;
    let progress = Progress::new(timeline.clone(), callers);

    let session = Session::builder(TokenEndpoint::try_new(&setup.api, &timeline)?)
        .token(pair.token()?)
        .on_event({
            let progress = progress.clone();
            move |event| progress.on_event(event)
        })
        .build();
    let (client, limit) =
        if setup.is_built_in() { (api::http2(), CONCURRENT_REQUESTS) } else { (api::http1(), CONNECTIONS) };
    let client = ServiceBuilder::new()
        .layer(session.layer().restrict_to_origin(setup.api.origin().parse()?))
        .concurrency_limit(limit)
        .service(client);

    let (respond, signal) = watch::channel(false);
    let before = setup.begin(&timeline, &pair, RespondAfter::Signal(signal)).await?;
    let mut clones = JoinSet::new();
    for clone in 0..CLONES {
        let requests = (clone..callers).step_by(CLONES).map(|caller| &CALLS[caller % CALLS.len()]);
        let requests = requests.map(|call| setup.api.request(call)).collect();
        clones.spawn(send_all(client.clone(), requests, progress.clone()));
    }
    if setup.is_built_in() {
        timeout(ALL_WAITING_TIMEOUT, all_waiting(&session, &progress)).await.map_err(|_| {
            format!("not all callers are waiting after {ALL_WAITING_TIMEOUT:?}: {:?}", session.status())
        })?;
        timeline.log(Who::Session, Step::AllWaiting { callers: session.status().waiters() });
        respond.send_replace(true);
    }
    for result in clones.join_all().await {
        result?;
    }

    let totals = setup.totals("layer", callers, &before, progress.ok()).await?;
    let signed_in = setup.accepts(session.try_token().as_ref().map(|token| token.secret())).await?;
    Ok(Run {
        title: TITLE,
        caption: setup.caption(CAPTION),
        is_layered: true,
        timeline,
        totals: Totals { signed_in, ..totals },
    })
}

async fn all_waiting(session: &Session, progress: &Progress) {
    while session.status().waiters() < progress.callers {
        progress.event.notified().await;
    }
}

/// Makes the calls of one clone, each in a task of its own.
pub(crate) async fn send_all<S>(
    mut client: S,
    requests: Vec<Request>,
    progress: Progress,
) -> Result<(), BoxError>
where
    S: Service<Request, Response = Response, Error = BoxError, Future: Send + 'static>,
{
    let mut calls = JoinSet::new();
    for request in requests {
        let response = client.ready().await?.call(request);
        let progress = progress.clone();
        calls.spawn(async move {
            match status(response).await {
                Ok(status) if status.is_success() => progress.succeeded(),
                Ok(status) => progress.failed(status.to_string()),
                Err(error) => progress.failed(error.to_string()),
            }
        });
    }
    calls.join_all().await;
    Ok(())
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new(timeline: Timeline, callers: usize) -> Self {
        Self { timeline, callers, succeeded: Arc::default(), failed: Arc::default(), event: Arc::default() }
    }

    /// The number of calls that succeeded.
    pub(crate) fn ok(&self) -> usize {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub(crate) fn on_event(&self, event: &Event) {
        match &event.kind {
            EventKind::RefreshStarted { reason, .. } => {
                self.timeline.log(Who::Callers, Step::starts_refresh(*reason));
            }
            EventKind::RefreshJoined { waiters, .. } => {
                self.log_progress(*waiters, Step::Waiting { callers: *waiters, total: self.callers });
            }
            _ => log_outcome(&self.timeline, event),
        }
        self.event.notify_one();
    }

    fn succeeded(&self) {
        let callers = self.succeeded.fetch_add(1, Ordering::Relaxed) + 1;
        self.log_progress(callers, Step::Succeeded { callers, total: self.callers });
    }

    fn failed(&self, reason: String) {
        // Print only the first: the others usually fail for the same reason.
        if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
            self.timeline.log(Who::Callers, Step::Fails { reason });
        }
    }

    fn log_progress(&self, callers: usize, step: Step) {
        if callers == self.callers || callers % self.callers.div_ceil(4) == 0 {
            self.timeline.log(Who::Callers, step);
        } else if callers % self.callers.div_ceil(100) == 0 {
            self.timeline.record(Who::Callers, step);
        }
    }
}
