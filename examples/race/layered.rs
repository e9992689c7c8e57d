//! The second part: the same calls through the layer.

use http::{StatusCode, header};
use http_body_util::BodyExt;
use tokio::{task::JoinSet, task_local};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthLayer, RefreshContext, RefreshError, Refresher, Session, Token,
    event::{Event, EventKind},
    json::JsonEndpoint,
};

use crate::{
    BoxError,
    api::{self, Api, CALLS, Pair, Request, Response},
    hold::Hold,
    stage::Stage,
    step::Step,
    tally::{Part, Tally},
    timeline::{Timeline, Who},
};

/// Where new tokens come from: the crate's own refresher for this backend, which here tells what it does.
pub(crate) struct TokenEndpoint {
    endpoint: JsonEndpoint,
    timeline: Timeline,
}

/// Which of the calls a request is.
#[derive(Clone, Copy)]
struct CallNumber(usize);

task_local! {
    /// The call that this task makes: an event doesn't say who caused it, but it is told in the caller's task.
    static CALLER: Who;
}

const TITLE: &str = "With the layer: one refresh for the three calls";
const CAPTION: &str = "The server holds its answer for 300 ms, in case another refresh comes. None does.";

pub(crate) async fn run(stage: &Stage) -> Result<Part, BoxError> {
    let timeline = Timeline::new(TITLE);
    let pair = stage.sign_in(&timeline).await?;

    let session = Session::builder(TokenEndpoint::try_new(&stage.api, &timeline)?)
        .token(pair.token()?)
        .on_event({
            let timeline = timeline.clone();
            move |event| tell(&timeline, event)
        })
        .build();
    let client = ServiceBuilder::new()
        .layer(AuthLayer::from_session(session.clone()).restrict_to_origin(stage.api.origin().parse()?))
        // Beneath the layer, to see what it put on.
        .map_request({
            let timeline = timeline.clone();
            move |request| tell_sent(&timeline, request)
        })
        .service(api::http1());

    let before = stage.begin(&timeline, &pair, Hold::Refreshes(CALLS.len())).await?;
    let mut calls = JoinSet::new();
    for (number, call) in CALLS.iter().enumerate() {
        let mut request = stage.api.request(call);
        request.extensions_mut().insert(CallNumber(number));
        let (client, timeline, who) = (client.clone(), timeline.clone(), Who::Call(number));
        calls.spawn(CALLER.scope(who, async move {
            let (step, ok) = match status(client.oneshot(request)).await {
                Ok(status) => (Step::Answered { status }, status.is_success()),
                Err(error) => (Step::Failed { why: error.to_string() }, false),
            };
            timeline.tell(who, step);
            ok
        }));
    }
    let ok = calls.join_all().await.into_iter().filter(|ok| *ok).count();

    let tally = stage.tally("layer", CALLS.len(), &before, ok).await?;
    let signed_in = stage.accepts(session.try_token().as_ref().map(|token| token.secret())).await?;
    Ok(Part {
        title: TITLE,
        caption: stage.caption(CAPTION),
        is_layered: true,
        timeline,
        tally: Tally { signed_in, ..tally },
    })
}

/// Waits for an answer and reads it to its end, so that its connection can be used again.
pub(crate) async fn status(
    answer: impl Future<Output = Result<Response, BoxError>>,
) -> Result<StatusCode, BoxError> {
    let (head, body) = answer.await?.into_parts();
    body.collect().await?;
    Ok(head.status)
}

fn tell(timeline: &Timeline, event: &Event) {
    let caller = || CALLER.try_with(|who| *who).unwrap_or(Who::Session);
    match &event.kind {
        EventKind::RefreshStarted { reason, .. } => timeline.tell(caller(), Step::starts(*reason)),
        EventKind::RefreshJoined { waiters, .. } => {
            timeline.tell(caller(), Step::Joins { waiting: *waiters })
        }
        _ => tell_outcome(timeline, event),
    }
}

/// Tells how a refresh ended.
pub(crate) fn tell_outcome(timeline: &Timeline, event: &Event) {
    match &event.kind {
        EventKind::Refreshed { elapsed, waiters, .. } => {
            timeline.tell(Who::Session, Step::Renewed { took: *elapsed, waiting: *waiters });
        }
        EventKind::RefreshFailed { error, .. } | EventKind::GrantEnded { error, .. } => {
            timeline.tell(Who::Session, Step::NotRenewed { why: error.to_string() });
        }
        _ => {}
    }
}

fn tell_sent(timeline: &Timeline, request: Request) -> Request {
    let number = request.extensions().get::<CallNumber>();
    let credential = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let (Some(number), Some(access)) = (number, credential.and_then(|it| it.strip_prefix("Bearer "))) {
        timeline.tell(Who::Call(number.0), Step::Sends { access: timeline.names().access(access) });
    }
    request
}

// === impl TokenEndpoint ===

impl TokenEndpoint {
    pub(crate) fn try_new(api: &Api, timeline: &Timeline) -> Result<Self, BoxError> {
        Ok(Self { endpoint: api.refresher()?, timeline: timeline.clone() })
    }
}

impl Refresher for TokenEndpoint {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        if let Some(refresh_token) = cx.refresh_token() {
            let presented = self.timeline.names().refresh(refresh_token);
            self.timeline.tell(Who::Refresher, Step::Presents { presented });
        }
        self.endpoint.refresh(cx).await
    }
}

// === impl Pair ===

impl Pair {
    /// The pair as a session takes it.
    pub(crate) fn token(&self) -> Result<Token, BoxError> {
        let token =
            Token::builder(&*self.access).refresh_token(&*self.refresh).expires_at(self.expires_at()?);
        Ok(token.build()?)
    }
}
