//! Direct requests to the servers, without the crate.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use super::{Kind, Server};

/// The tokens of a sign-in.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) access: String,
    pub(crate) refresh: String,
    #[allow(dead_code, reason = "not all who use the servers read it")]
    pub(crate) expires_in: Option<u64>,
}

// === impl Server ===

impl Server {
    pub(crate) fn token_url(&self) -> String {
        let path = match self.kind {
            Kind::SimpleJwt => "/auth/token/refresh/",
            Kind::Oidc => "/token",
            Kind::Dot => "/o/token/",
        };
        format!("{}{path}", self.url())
    }

    pub(crate) fn revocation_url(&self) -> String {
        let path = match self.kind {
            Kind::SimpleJwt => "/auth/token/blacklist/",
            Kind::Oidc => "/token/revocation",
            Kind::Dot => "/o/revoke_token/",
        };
        format!("{}{path}", self.url())
    }

    /// A resource that requires a valid access token.
    pub(crate) fn resource_url(&self) -> String {
        let path = if self.kind == Kind::Oidc { "/me" } else { "/tickets/" };
        format!("{}{path}", self.url())
    }

    /// Signs alice in, with a new grant.
    pub(crate) async fn sign_in(&self) -> Grant {
        let (status, tokens) = match self.kind {
            Kind::SimpleJwt => {
                let who = json!({ "username": "alice", "password": "alice" });
                post_json(&format!("{}/auth/token/", self.url()), &who).await
            }
            Kind::Dot => {
                let grant = [
                    ("grant_type", "password"),
                    ("username", "alice"),
                    ("password", "alice"),
                    ("scope", "api"),
                ];
                self.post_form(&self.token_url(), &grant).await
            }
            Kind::Oidc => {
                let (_, code) =
                    send(Method::GET, &format!("{}/_code?client_id=web", self.url()), None, "", None).await;
                let text = |name: &str| code[name].as_str().expect("the response has it").to_owned();
                let (code, redirect_uri) = (text("code"), text("redirect_uri"));
                let grant = [
                    ("grant_type", "authorization_code"),
                    ("code", &*code),
                    ("redirect_uri", &*redirect_uri),
                ];
                self.post_form(&self.token_url(), &grant).await
            }
        };
        assert!(status.is_success(), "{status} {tokens}");
        Grant::of(&tokens)
    }

    /// Exchanges a refresh token directly.
    pub(crate) async fn refresh(&self, refresh: &str) -> Result<Grant, (StatusCode, Value)> {
        let (status, tokens) = match self.kind {
            Kind::SimpleJwt => post_json(&self.token_url(), &json!({ "refresh": refresh })).await,
            _ => {
                let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
                self.post_form(&self.token_url(), &grant).await
            }
        };
        if status.is_success() { Ok(Grant::of(&tokens)) } else { Err((status, tokens)) }
    }

    /// An assertion for the JWT bearer grant, signed as a workload's platform would: `flaws` may have
    /// `&expired=1` or `&untrusted=1`.
    #[allow(dead_code, reason = "not all who use the servers need one")]
    pub(crate) async fn assertion(&self, flaws: &str) -> String {
        let url = format!("{}/_assertion?subject=alice{flaws}", self.url());
        let (_, response) = send(Method::GET, &url, None, "", None).await;
        response["assertion"].as_str().expect("the response has it").to_owned()
    }

    /// The status of a request to the resource with this access token.
    pub(crate) async fn call(&self, access: &str) -> StatusCode {
        send(Method::GET, &self.resource_url(), Some(&format!("Bearer {access}")), "", None).await.0
    }

    /// Expires an access token without revoking its refresh token.
    pub(crate) async fn expire(&self, access: &str) {
        self.control("/_expire", access.to_owned().into()).await;
    }

    /// Whether the grant is valid according to introspection of its refresh token, or of its access token if
    /// the server supports only that. `None` if the server has no introspection.
    pub(crate) async fn is_alive(&self, grant: &Grant) -> Option<bool> {
        let (path, token) = match self.kind {
            Kind::SimpleJwt => return None,
            Kind::Oidc => ("/token/introspection", &grant.refresh),
            Kind::Dot => ("/o/introspect/", &grant.access),
        };
        let (_, response) = self.post_form(&format!("{}{path}", self.url()), &[("token", token)]).await;
        response["active"].as_bool()
    }

    /// The responses of the token route, counted by their result.
    pub(crate) async fn counts(&self) -> Value {
        send(Method::GET, &format!("{}/_counts", self.url()), None, "", None).await.1
    }

    /// How many refreshes the server granted, and how many it refused.
    pub(crate) async fn refreshes(&self) -> (u64, u64) {
        let counts = self.counts().await;
        let (counts, prefix) = if self.kind == Kind::SimpleJwt {
            (&counts["refresh_calls"], "")
        } else {
            (&counts, "refresh_token ")
        };
        let mut tally = (0, 0);
        for (key, count) in counts.as_object().into_iter().flatten() {
            let count = count.as_u64().unwrap_or(0);
            match key.strip_prefix(prefix) {
                Some("200") => tally.0 += count,
                Some(_) => tally.1 += count,
                None => {}
            }
        }
        tally
    }

    /// Returns once the server has granted this many refreshes; their responses may still be held.
    pub(crate) async fn granted(&self, refreshes: u64) {
        while self.refreshes().await.0 < refreshes {
            tokio::task::yield_now().await;
        }
    }

    /// Holds the next response of the token route, after it is made.
    pub(crate) async fn hold_next(&self) {
        self.control("/_hold", Bytes::new()).await;
    }

    /// Sends the held response, and stops holding responses.
    pub(crate) async fn release(&self) {
        self.control("/_release", Bytes::new()).await;
    }

    /// Revokes a token at the standard endpoint, as the client that owns it.
    #[allow(dead_code, reason = "not all who use the servers revoke by hand")]
    pub(crate) async fn revoke(&self, token: &str) -> StatusCode {
        match self.kind {
            Kind::SimpleJwt => post_json(&self.revocation_url(), &json!({ "refresh": token })).await.0,
            _ => self.post_form(&self.revocation_url(), &[("token", token)]).await.0,
        }
    }

    async fn control(&self, path: &str, body: Bytes) {
        let url = format!("{}{path}", self.url());
        let (status, response) = send(Method::POST, &url, None, "text/plain", Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {response}");
    }

    async fn post_form(&self, url: &str, params: &[(&str, &str)]) -> (StatusCode, Value) {
        // web:web-secret
        let client = "Basic d2ViOndlYi1zZWNyZXQ=";
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        send(Method::POST, url, Some(client), "application/x-www-form-urlencoded", Some(form.into())).await
    }
}

// === impl Grant ===

impl Grant {
    fn of(tokens: &Value) -> Self {
        let text = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| tokens[name].as_str());
            found.unwrap_or_else(|| panic!("no {names:?} in {tokens}")).to_owned()
        };
        Self {
            access: text(["access", "access_token"]),
            refresh: text(["refresh", "refresh_token"]),
            expires_in: tokens["expires_in"].as_u64(),
        }
    }
}

async fn post_json(url: &str, body: &Value) -> (StatusCode, Value) {
    send(Method::POST, url, None, "application/json", Some(body.to_string().into())).await
}

/// One request on its own connection. A body that isn't JSON is `null`.
async fn send(
    method: Method,
    url: &str,
    authorization: Option<&str>,
    content_type: &str,
    body: Option<Bytes>,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(url).header(header::CONTENT_TYPE, content_type);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Full::new(body.unwrap_or_default())).expect("its parts are valid");
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let response = client.request(request).await.expect("the server responds");
    let status = response.status();
    let body = response.into_body().collect().await.expect("the response is complete").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
