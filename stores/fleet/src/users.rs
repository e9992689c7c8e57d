//! A process of a fleet with a session for each of many users, over one store.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_reauth::{AuthLayer, Session, oauth2, sessions::Sessions, store::SharedSession};
use tower_reauth_redis::RedisStore;

use crate::{
    Command, Failure, Outcome, Report, Settings, StoreKind,
    worker::{Api, BACKOFF, BoxError, WAIT_TIMEOUT, call_api, http_client, report, transport, with_times},
};

struct Worker {
    api: Api,
    api_url: String,
    users: usize,
    callers: usize,
}

type User = usize;

pub(crate) async fn work(settings: Settings) {
    let worker = match Worker::new(settings).await {
        Ok(worker) => Arc::new(worker),
        Err(error) => return report(&Report::Done(Err(Failure::of(&*error)))),
    };
    report(&Report::Ready);
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = commands.next_line().await {
        match serde_json::from_str(&line).expect("the starting program wrote it") {
            Command::Call => report(&Report::Called(worker.call_all().await)),
            Command::Exit => return,
            command => panic!("not with many users: {command:?}"),
        }
    }
}

// === impl Worker ===

impl Worker {
    async fn new(settings: Settings) -> Result<Self, BoxError> {
        let api =
            AuthLayer::keyed(sessions(&settings).await?, |head| head.extensions().get::<User>().copied());
        let api = api.restrict_to_origin(settings.server.parse()?);
        let api = ServiceBuilder::new().layer(api).service(http_client(true));
        let Settings { server, users, callers, .. } = settings;
        Ok(Self { api: BoxCloneSyncService::new(api), api_url: format!("{server}/api"), users, callers })
    }

    async fn call_all(&self) -> Outcome {
        let mut calls = JoinSet::new();
        for user in (0..self.users).flat_map(|user| std::iter::repeat_n(user, self.callers)) {
            let mut request = Request::new(Full::<Bytes>::default());
            *request.uri_mut() = self.api_url.parse().expect("the server has a URL");
            request.extensions_mut().insert(user);
            let api = self.api.clone();
            calls.spawn(async move { call_api(&api, request).await });
        }
        let mut outcome = Outcome::default();
        while let Some(result) = calls.join_next().await {
            outcome.add(result.expect("a call doesn't panic").map_err(|error| Failure::of(&*error)));
        }
        outcome
    }
}

/// The users' sessions. Their records are reached over one connection, and one other listens for all changes.
async fn sessions(settings: &Settings) -> Result<Sessions<User, SharedSession>, BoxError> {
    let Settings { server, store, record, exchange_timeout, slack, .. } = settings.clone();
    let StoreKind::Redis(Some(url)) = store else {
        return Err("many users need the URL of a Redis server".into());
    };
    let client = redis::Client::open(url)?;
    let record = record.as_deref().unwrap_or("fleet").to_owned();
    let store = RedisStore::new(client.get_connection_manager().await?, &record).listen(client);
    let client = oauth2::Client::try_with_transport(format!("{server}/token"), "fleet", transport())?;
    let builder = Session::builder(client.refresh_token_grant())
        .wait_timeout(WAIT_TIMEOUT)
        .backoff(BACKOFF, BACKOFF)
        .wait_through_backoff(true);
    let load = move |user: User| {
        let store = store.with_name(&format!("{record}-{user}"));
        let store = with_times(store, exchange_timeout, slack);
        let session = builder.clone().name(format!("user {user}")).build_shared(store);
        async move { Ok::<_, Infallible>(session) }
    };
    Ok(Sessions::builder(load).build())
}
