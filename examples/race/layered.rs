//! The second run: the same calls through the layer.

use http::{StatusCode, header};
use http_body_util::BodyExt;
use tokio::{task::JoinSet, task_local};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Session, Token,
    event::{Event, EventKind},
    json::JsonEndpoint,
};

use crate::{
    BoxError,
    api::{self, Api, CALLS, Pair, Request, Response},
    counts::{Run, Totals},
    response_order::RespondAfter,
    setup::Setup,
    step::Step,
    timeline::{Timeline, Who},
};

/// The crate's refresher for this backend, with a log.
pub(crate) struct TokenEndpoint {
    endpoint: JsonEndpoint,
    timeline: Timeline,
}

/// The index of a request's call in [`CALLS`].
#[derive(Clone, Copy)]
struct CallNumber(usize);

task_local! {
    /// The call that this task makes. An event doesn't name its caller, but listeners run in the caller's
    /// task.
    static CALLER: Who;
}

const TITLE: &str = "With the layer: one refresh for all three calls";
const CAPTION: &str = "The server delays its response by 300 ms, in case of further refreshes. None arrives.";

pub(crate) async fn run(setup: &Setup) -> Result<Run, BoxError> {
    let timeline = Timeline::new(TITLE);
    let pair = setup.sign_in(&timeline).await?;

    let session = Session::builder(TokenEndpoint::try_new(&setup.api, &timeline)?)
        .token(pair.token()?)
        .on_event({
            let timeline = timeline.clone();
            move |event| log(&timeline, event)
        })
        .build();
    let client = ServiceBuilder::new()
        .layer(session.layer().restrict_to_origin(setup.api.origin().parse()?))
        // Inside the layer, where the token is attached.
        .map_request({
            let timeline = timeline.clone();
            move |request| log_sent(&timeline, request)
        })
        .service(api::http1());

    let before = setup.begin(&timeline, &pair, RespondAfter::Refreshes(CALLS.len())).await?;
    let mut calls = JoinSet::new();
    for (number, call) in CALLS.iter().enumerate() {
        let mut request = setup.api.request(call);
        request.extensions_mut().insert(CallNumber(number));
        let (client, timeline, who) = (client.clone(), timeline.clone(), Who::Call(number));
        calls.spawn(CALLER.scope(who, async move {
            let (step, ok) = match status(client.oneshot(request)).await {
                Ok(status) => (Step::Receives { status }, status.is_success()),
                Err(error) => (Step::Fails { reason: error.to_string() }, false),
            };
            timeline.log(who, step);
            ok
        }));
    }
    let ok = calls.join_all().await.into_iter().filter(|ok| *ok).count();

    let totals = setup.totals("layer", CALLS.len(), &before, ok).await?;
    let signed_in = setup.accepts(session.try_token().as_ref().map(|token| token.secret())).await?;
    Ok(Run {
        title: TITLE,
        caption: setup.caption(CAPTION),
        is_layered: true,
        timeline,
        totals: Totals { signed_in, ..totals },
    })
}

/// Reads a response to its end, so that its connection can be reused, and returns its status.
pub(crate) async fn status(
    response: impl Future<Output = Result<Response, BoxError>>,
) -> Result<StatusCode, BoxError> {
    let (head, body) = response.await?.into_parts();
    body.collect().await?;
    Ok(head.status)
}

fn log(timeline: &Timeline, event: &Event) {
    let caller = || CALLER.try_with(|who| *who).unwrap_or(Who::Session);
    match &event.kind {
        EventKind::RefreshStarted { reason, .. } => timeline.log(caller(), Step::starts_refresh(*reason)),
        EventKind::RefreshJoined { waiters, .. } => {
            timeline.log(caller(), Step::JoinsRefresh { waiters: *waiters });
        }
        _ => log_outcome(timeline, event),
    }
}

/// Logs how a refresh ended.
pub(crate) fn log_outcome(timeline: &Timeline, event: &Event) {
    match &event.kind {
        EventKind::Refreshed { elapsed, waiters, .. } => {
            timeline.log(Who::Session, Step::Refreshed { elapsed: *elapsed, waiters: *waiters });
        }
        EventKind::RefreshFailed { error, .. } | EventKind::GrantEnded { error, .. } => {
            timeline.log(Who::Session, Step::RefreshFailed { reason: error.to_string() });
        }
        _ => {}
    }
}

fn log_sent(timeline: &Timeline, request: Request) -> Request {
    let number = request.extensions().get::<CallNumber>();
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let (Some(number), Some(access)) =
        (number, authorization.and_then(|value| value.strip_prefix("Bearer ")))
    {
        timeline.log(Who::Call(number.0), Step::Sends { access: timeline.names().access(access) });
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
            self.timeline.log(Who::Refresher, Step::PresentsRefreshToken { presented });
        }
        self.endpoint.refresh(cx).await
    }
}

// === impl Pair ===

impl Pair {
    /// The pair as the crate's token.
    pub(crate) fn token(&self) -> Result<Token, BoxError> {
        let token =
            Token::builder(&*self.access).refresh_token(&*self.refresh).expires_at(self.expires_at()?);
        Ok(token.build()?)
    }
}
