//! The third part: thousands of callers through the layer.

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
    AuthLayer, Session,
    event::{Event, EventKind},
};

use crate::{
    BoxError,
    api::{self, CALLS, Request, Response},
    hold::Hold,
    layered::{TokenEndpoint, status, tell_outcome},
    stage::Stage,
    step::Step,
    tally::{Part, Tally},
    timeline::{Timeline, Who, grouped},
};

/// Prints how far the crowd is at each quarter, and keeps each hundredth for the picture.
#[derive(Clone)]
pub(crate) struct Meter {
    timeline: Timeline,
    callers: usize,
    succeeded: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    /// Something happened to the session.
    happened: Arc<Notify>,
}

const TITLE: &str = "With the layer: one refresh for a crowd of callers";
const CAPTION: &str = "The server answers the refresh once all callers wait for it.";
pub(crate) const CLONES: usize = 8;
/// How many requests are under way at once. A request that waits for a token isn't one of them: it gives its place
/// back, or the crowd could never wait together.
pub(crate) const UNDER_WAY: usize = 100;
/// The same over HTTP/1, where each needs a connection.
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(stage: &Stage, callers: usize) -> Result<Part, BoxError> {
    let timeline =
        Timeline::new(&format!("{TITLE}: {}, over {CLONES} clones of the client", grouped(callers)));
    let pair = stage.sign_in(&timeline).await?;
    let meter = Meter::new(timeline.clone(), callers);

    let session = Session::builder(TokenEndpoint::try_new(&stage.api, &timeline)?)
        .token(pair.token()?)
        .on_event({
            let meter = meter.clone();
            move |event| meter.listen(event)
        })
        .build();
    let (client, limit) =
        if stage.is_built_in() { (api::http2(), UNDER_WAY) } else { (api::http1(), CONNECTIONS) };
    let client = ServiceBuilder::new()
        .layer(AuthLayer::from_session(session.clone()).restrict_to_origin(stage.api.origin().parse()?))
        .concurrency_limit(limit)
        .service(client);

    let (open, opened) = watch::channel(false);
    let before = stage.begin(&timeline, &pair, Hold::Until(opened)).await?;
    let mut drivers = JoinSet::new();
    for clone in 0..CLONES {
        let requests = (clone..callers).step_by(CLONES).map(|caller| &CALLS[caller % CALLS.len()]);
        let requests = requests.map(|call| stage.api.request(call)).collect();
        drivers.spawn(drive(client.clone(), requests, meter.clone()));
    }
    if stage.is_built_in() {
        timeout(PATIENCE, all_wait(&session, &meter))
            .await
            .map_err(|_| format!("after {PATIENCE:?} not all callers wait: {:?}", session.status()))?;
        timeline.tell(Who::Session, Step::AllWait { callers: session.status().waiters() });
        open.send_replace(true);
    }
    for result in drivers.join_all().await {
        result?;
    }

    let tally = stage.tally("layer", callers, &before, meter.ok()).await?;
    let signed_in = stage.accepts(session.try_token().as_ref().map(|token| token.secret())).await?;
    Ok(Part {
        title: TITLE,
        caption: stage.caption(CAPTION),
        is_layered: true,
        timeline,
        tally: Tally { signed_in, ..tally },
    })
}

async fn all_wait(session: &Session, meter: &Meter) {
    while session.status().waiters() < meter.callers {
        meter.happened.notified().await;
    }
}

/// Makes one clone's share of the calls, each in a task of its own.
pub(crate) async fn drive<S>(mut client: S, requests: Vec<Request>, meter: Meter) -> Result<(), BoxError>
where
    S: Service<Request, Response = Response, Error = BoxError, Future: Send + 'static>,
{
    let mut calls = JoinSet::new();
    for request in requests {
        let answer = client.ready().await?.call(request);
        let meter = meter.clone();
        calls.spawn(async move {
            match status(answer).await {
                Ok(status) if status.is_success() => meter.succeeded(),
                Ok(status) => meter.failed(status.to_string()),
                Err(error) => meter.failed(error.to_string()),
            }
        });
    }
    calls.join_all().await;
    Ok(())
}

// === impl Meter ===

impl Meter {
    pub(crate) fn new(timeline: Timeline, callers: usize) -> Self {
        Self {
            timeline,
            callers,
            succeeded: Arc::default(),
            failed: Arc::default(),
            happened: Arc::default(),
        }
    }

    /// How many calls succeeded, as the client saw it.
    pub(crate) fn ok(&self) -> usize {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub(crate) fn listen(&self, event: &Event) {
        let of = self.callers;
        match &event.kind {
            EventKind::RefreshStarted { reason, .. } => self.timeline.tell(Who::Crowd, Step::starts(*reason)),
            EventKind::RefreshJoined { waiters, .. } => {
                self.count(*waiters, Step::Waiting { callers: *waiters, of })
            }
            _ => tell_outcome(&self.timeline, event),
        }
        self.happened.notify_one();
    }

    fn succeeded(&self) {
        let callers = self.succeeded.fetch_add(1, Ordering::Relaxed) + 1;
        self.count(callers, Step::Succeeded { callers, of: self.callers });
    }

    fn failed(&self, why: String) {
        // One says enough: the others will have failed for the same reason.
        if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
            self.timeline.tell(Who::Crowd, Step::Failed { why });
        }
    }

    fn count(&self, callers: usize, step: Step) {
        if callers == self.callers || callers % self.callers.div_ceil(4) == 0 {
            self.timeline.tell(Who::Crowd, step);
        } else if callers % self.callers.div_ceil(100) == 0 {
            self.timeline.keep(Who::Crowd, step);
        }
    }
}
