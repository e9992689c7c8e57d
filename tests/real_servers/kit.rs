//! The kit for users' tests treats a reused refresh token as a real server with the same policy does.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower_reauth::{
    RefreshContext, Refresher, Token,
    json::JsonEndpoint,
    oauth2,
    refresh::AnyRefresher,
    testing::{Issuer, IssuerBuilder, Resource, Reuse},
};

use crate::{
    servers::{Kind, Server},
    setup::Provider,
};

/// A client that coordinates nothing.
struct Naive {
    refresher: AnyRefresher,
    resource_url: String,
    http: Client<HttpConnector, Empty<Bytes>>,
}

// === impl Naive ===

impl Naive {
    fn new(refresher: AnyRefresher, resource_url: String) -> Self {
        Self { refresher, resource_url, http: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The verdicts on a refresh, on the same refresh token again, on the successor, and on the access tokens.
    async fn verdicts(&self, first: &Token) -> Vec<String> {
        let mut verdicts = Vec::new();
        let second = self.refresh(first, first, &mut verdicts).await.expect("the first refresh is granted");
        let again = self.refresh(first, &second, &mut verdicts).await;
        // Before the next refresh: django-oauth-toolkit revokes the access token before it.
        for token in again.iter().chain([&second]) {
            verdicts.push(format!("call: {}", self.call(token).await));
        }
        if let Some(third) = self.refresh(&second, &second, &mut verdicts).await {
            verdicts.push(format!("call: {}", self.call(&third).await));
        }
        verdicts
    }

    async fn refresh(&self, token: &Token, before: &Token, verdicts: &mut Vec<String>) -> Option<Token> {
        let cx = RefreshContext::builder().token(token.clone()).build();
        let result = self.refresher.refresh(cx).await;
        verdicts.push(match &result {
            Ok(new) if new.refresh_token() == before.refresh_token() => "refresh: same successor".to_owned(),
            Ok(_) => "refresh: granted".to_owned(),
            Err(error) => format!("refresh: grant ended: {}", error.is_grant_ended()),
        });
        result.ok()
    }

    async fn call(&self, token: &Token) -> u16 {
        let request = Request::get(&self.resource_url).header("authorization", token.header_value());
        self.http.request(request.body(Empty::new()).unwrap()).await.unwrap().status().as_u16()
    }
}

/// Of the real server, started with these options, and of an issuer.
async fn agree(kind: Kind, options: &[&str], issuer: IssuerBuilder) {
    let Some(server) = Server::start(kind, options) else { return };
    let grant = server.sign_in().await;
    let first = Token::builder(&*grant.access).refresh_token(&*grant.refresh).build().unwrap();
    let naive = Naive::new(Provider::of(&server).refresher(), server.resource_url());
    let real = naive.verdicts(&first).await;

    let issuer = issuer.build();
    let (tokens, api) = (issuer.serve().await.unwrap(), Resource::new(&issuer).serve().await.unwrap());
    let transport: Client<HttpConnector, _> = Client::builder(TokioExecutor::new()).build_http();
    let refresher = match kind {
        Kind::SimpleJwt => {
            let endpoint = JsonEndpoint::try_with_transport(tokens.url(), transport).unwrap();
            AnyRefresher::new(endpoint.for_simplejwt())
        }
        Kind::Oidc | Kind::Dot => {
            let client = oauth2::Client::try_with_transport(tokens.url(), "web", transport).unwrap();
            AnyRefresher::new(client.client_secret_basic("web-secret").refresh_token_grant())
        }
    };
    let kit = Naive::new(refresher, api.url()).verdicts(&issuer.sign_in()).await;
    assert_eq!(real, kit, "{kind:?} {options:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_refuses_a_reused_refresh_token_as_simplejwt_does() {
    agree(Kind::SimpleJwt, &[], Issuer::builder().reuse(Reuse::Refuse)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_revokes_a_family_as_oidc_provider_does() {
    agree(Kind::Oidc, &[], Issuer::builder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_refuses_a_reused_refresh_token_as_django_oauth_toolkit_does() {
    agree(Kind::Dot, &[], Issuer::builder().reuse(Reuse::Refuse)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_tolerates_a_reused_refresh_token_as_django_oauth_toolkit_can() {
    let issuer = Issuer::builder().reuse(Reuse::Refuse).tolerate_reuse_for(Duration::from_secs(3600));
    agree(Kind::Dot, &["--grace", "3600"], issuer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_revokes_a_family_as_django_oauth_toolkit_can() {
    agree(Kind::Dot, &["--reuse-protection"], Issuer::builder()).await;
}
