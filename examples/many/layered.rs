//! The gateway's client: a session for each user, behind one layer.

use std::{io, sync::Arc};

use bytes::Bytes;
use http_body_util::Empty;
use tower::Layer;
use tower_reauth::{Auth, AuthLayer, Session, oauth2, rt::TestClock, sessions::Sessions};

use crate::{
    BoxError,
    database::{Database, UserId},
    loopback::{self, Client},
    upstream::Upstream,
};

const MAX_REFRESHES: usize = 64;

pub(crate) fn sessions(
    upstream: &Upstream,
    database: &Arc<Database>,
    capacity: usize,
    clock: &TestClock,
) -> Result<Sessions<UserId>, BoxError> {
    let oauth2 =
        oauth2::Client::try_with_transport(upstream.token_endpoint(), "gateway", loopback::client())?;
    // The refresher takes the refresh token from the session that it refreshes, so one is enough for all.
    let builder = Session::builder(oauth2.refresh_token_grant()).clock(clock.clone());
    let database = Arc::clone(database);
    let sessions = Sessions::builder(move |user: UserId| {
        let (builder, database) = (builder.clone(), Arc::clone(&database));
        async move {
            let token = database.load(&user);
            let save = move |token| {
                database.save(&user, token);
                async { Ok::<_, io::Error>(()) }
            };
            Ok::<_, io::Error>(builder.token_or_signed_out(token).save_with(save).build())
        }
    });
    Ok(sessions.capacity(capacity).max_refreshes(MAX_REFRESHES).build())
}

pub(crate) fn client(
    sessions: Sessions<UserId>,
    upstream: &Upstream,
) -> Result<Auth<Client<Empty<Bytes>>>, BoxError> {
    let layer = AuthLayer::keyed(sessions, |head| head.extensions().get::<UserId>().cloned());
    let layer = layer.restrict_to_origin(upstream.origin().parse()?);
    // Otherwise the token of a caller would go upstream.
    Ok(layer.override_existing(true).layer(loopback::client()))
}
