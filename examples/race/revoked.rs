//! The fourth part, if it is asked for: the server revokes a token that hasn't expired, in the middle of the traffic.

use tokio::task::JoinSet;
use tower::ServiceBuilder;
use tower_reauth::{AuthLayer, Session};

use crate::{
    BoxError,
    api::{self, CALLS},
    crowd::{CLONES, Meter, UNDER_WAY, drive},
    layered::TokenEndpoint,
    stage::Stage,
    tally::Tally,
    timeline::{Timeline, grouped},
};

const TITLE: &str = "With the layer: the server revokes the token in mid-traffic";

/// Makes `callers` calls; once half of them were answered, the server revokes the token that they carry.
pub(crate) async fn run(stage: &Stage, callers: usize) -> Result<Tally, BoxError> {
    let timeline = Timeline::new(&format!("{TITLE}: {} callers", grouped(callers)));
    let pair = stage.sign_in_for_long(&timeline).await?;
    let meter = Meter::new(timeline.clone(), callers);
    let session = Session::builder(TokenEndpoint::try_new(&stage.api, &timeline)?)
        .token(pair.token()?)
        .on_event({
            let meter = meter.clone();
            move |event| meter.listen(event)
        })
        .build();
    let client = ServiceBuilder::new()
        .layer(AuthLayer::from_session(session.clone()).restrict_to_origin(stage.api.origin().parse()?))
        .concurrency_limit(UNDER_WAY)
        .service(api::http2());

    let before = stage.begin_revocation(&timeline, &pair, callers / 2).await?;
    let mut drivers = JoinSet::new();
    for clone in 0..CLONES {
        let requests = (clone..callers).step_by(CLONES).map(|caller| &CALLS[caller % CALLS.len()]);
        let requests = requests.map(|call| stage.api.request(call)).collect();
        drivers.spawn(drive(client.clone(), requests, meter.clone()));
    }
    for result in drivers.join_all().await {
        result?;
    }

    let tally = stage.tally("revoked", callers, &before, meter.ok()).await?;
    let signed_in = stage.accepts(session.try_token().as_ref().map(|token| token.secret())).await?;
    Ok(Tally { signed_in, ..tally })
}
