//! A hyper client with the layer.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{Auth, Session, Token, json::JsonEndpoint, oauth2, refresh::AnyRefresher, rt::TestClock};

use crate::{
    client::Client,
    servers::{Grant, Kind, Server},
};

pub(crate) struct Layered {
    session: Session,
    clock: TestClock,
    client: Auth<legacy::Client<HttpConnector, Empty<Bytes>>>,
    resource: String,
}

impl Client for Layered {
    const NAME: &'static str = "layer";

    fn new(server: Arc<Server>, grant: Grant) -> Self {
        let token = Token::builder(grant.access)
            .refresh_token(grant.refresh)
            .build()
            .expect("the server issues valid tokens");
        let clock = TestClock::new(SystemTime::now());
        let session = Session::builder(refresher(&server)).token(token).clock(clock.clone()).build();
        let origin = server.url().parse().expect("the server has a valid URL");
        let layer = session.layer().restrict_to_origin(origin);
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        let client = ServiceBuilder::new().layer(layer).service(client);
        Self { session, clock, client, resource: server.resource_url() }
    }

    async fn call(&self) -> bool {
        let request = Request::get(&self.resource).body(Empty::new()).expect("the server has a valid URL");
        let Ok(response) = self.client.clone().oneshot(request).await else { return false };
        let status = response.status();
        response.into_body().collect().await.is_ok() && status == StatusCode::OK
    }

    async fn access(&self) -> Option<String> {
        self.session.token().await.ok().map(|token| token.secret().to_owned())
    }

    fn advance_clock(&self, by: Duration) {
        self.clock.step(by);
    }
}

fn refresher(server: &Server) -> AnyRefresher {
    let transport = legacy::Client::builder(TokioExecutor::new()).build_http();
    let url = server.token_url();
    let valid = "the server has a URL on loopback";
    if server.kind == Kind::SimpleJwt {
        AnyRefresher::new(JsonEndpoint::try_with_transport(url, transport).expect(valid).for_simplejwt())
    } else {
        let client = oauth2::Client::try_with_transport(url, "web", transport).expect(valid);
        AnyRefresher::new(client.client_secret_basic("web-secret").refresh_token_grant())
    }
}
