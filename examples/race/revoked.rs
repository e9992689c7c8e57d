//! The fourth run (`--revoke-mid-traffic`): the server revokes a valid token while it is in use.

use tokio::task::JoinSet;
use tower::ServiceBuilder;
use tower_reauth::Session;

use crate::{
    BoxError,
    api::{self, CALLS},
    counts::Totals,
    layered::TokenEndpoint,
    many_callers::{CLONES, CONCURRENT_REQUESTS, Progress, send_all},
    setup::Setup,
    timeline::{Timeline, grouped},
};

const TITLE: &str = "With the layer: the server revokes the token mid-traffic";

/// Makes `callers` calls. After half of them the server revokes their token.
pub(crate) async fn run(setup: &Setup, callers: usize) -> Result<Totals, BoxError> {
    let timeline = Timeline::new(&format!("{TITLE} ({} callers)", grouped(callers)));
    let pair = setup.sign_in_for_minutes(&timeline).await?;
    let progress = Progress::new(timeline.clone(), callers);
    let session = Session::builder(TokenEndpoint::try_new(&setup.api, &timeline)?)
        .token(pair.token()?)
        .on_event({
            let progress = progress.clone();
            move |event| progress.on_event(event)
        })
        .build();
    let client = ServiceBuilder::new()
        .layer(session.layer().restrict_to_origin(setup.api.origin().parse()?))
        .concurrency_limit(CONCURRENT_REQUESTS)
        .service(api::http2());

    let before = setup.begin_revocation(&timeline, &pair, callers / 2).await?;
    let mut clones = JoinSet::new();
    for clone in 0..CLONES {
        let requests = (clone..callers).step_by(CLONES).map(|caller| &CALLS[caller % CALLS.len()]);
        let requests = requests.map(|call| setup.api.request(call)).collect();
        clones.spawn(send_all(client.clone(), requests, progress.clone()));
    }
    for result in clones.join_all().await {
        result?;
    }

    let totals = setup.totals("revoked", callers, &before, progress.ok()).await?;
    let signed_in = setup.accepts(session.try_token().as_ref().map(|token| token.secret())).await?;
    Ok(Totals { signed_in, ..totals })
}
