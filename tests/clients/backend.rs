//! A token endpoint and an API on one origin, over HTTP/1 and HTTP/2.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tower::ServiceExt;
use tower_reauth::{
    Token,
    testing::{Issuer, Resource},
};

use crate::loopback::{Acceptor, Reply};

pub(crate) struct Backend {
    acceptor: Acceptor,
    pub(crate) issuer: Issuer,
    pub(crate) api: Resource,
}

/// The lifetime of access tokens, which outlasts any test by the issuer's own clock.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

impl Backend {
    pub(crate) async fn start() -> Self {
        let issuer = Issuer::builder().lifetime(LIFETIME).build();
        let api = Resource::new(&issuer);
        let (issuing, serving) = (issuer.clone(), api.clone());
        let acceptor =
            Acceptor::serve(move |request| handle(issuing.clone(), serving.clone(), request)).await;
        Self { acceptor, issuer, api }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.acceptor.url)
    }

    /// The tokens of a user who signed in long ago.
    pub(crate) fn expired_token(&self) -> Token {
        let token = self.issuer.sign_in();
        self.issuer.expire_access_tokens();
        token.into_builder().expires_in(Duration::ZERO).build().unwrap()
    }
}

async fn handle(issuer: Issuer, api: Resource, request: Request<Incoming>) -> Result<Reply, hyper::Error> {
    let response = match request.uri().path() {
        "/token" => issuer.oneshot(request).await,
        _ => api.oneshot(request).await,
    };
    let (head, body) = response.unwrap().into_parts();
    let Ok(body) = body.collect().await;
    Ok(Response::from_parts(head, body.to_bytes().into()))
}
