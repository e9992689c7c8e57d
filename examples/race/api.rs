//! The backend's routes, as a client uses them.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tower_reauth::json::JsonEndpoint;

use crate::{BoxError, jwt};

/// A plain hyper client.
pub(crate) type Client = legacy::Client<HttpConnector, Full<Bytes>>;

pub(crate) type Request = http::Request<Full<Bytes>>;
pub(crate) type Response = http::Response<Incoming>;

/// The backend, with a client for requests that don't go through the layer.
#[derive(Clone)]
pub(crate) struct Api {
    origin: String,
    client: Client,
}

/// A call of the application, which needs a valid access token.
pub(crate) struct Call {
    method: Method,
    path: &'static str,
}

/// The token endpoint's response. Only the access token itself states its expiry.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// The server's counts so far.
#[derive(Deserialize, Serialize)]
pub(crate) struct Counts {
    /// Refreshes, by the status of their responses.
    pub(crate) refresh_calls: BTreeMap<u16, usize>,
    /// Successful calls. Only the built-in server counts them.
    pub(crate) ok: Option<usize>,
}

/// The three concurrent calls.
pub(crate) const CALLS: [Call; 3] = [
    Call { method: Method::POST, path: "/messages/" },
    Call { method: Method::GET, path: "/dashboard/stats/" },
    Call { method: Method::GET, path: "/tickets/" },
];

const REFRESH: &str = "/auth/token/refresh/";

pub(crate) fn http1<B>() -> legacy::Client<HttpConnector, B>
where
    B: Body<Data: Send> + Send,
{
    legacy::Client::builder(TokioExecutor::new()).build(connector())
}

/// Sends all requests over one HTTP/2 connection, with prior knowledge.
pub(crate) fn http2() -> Client {
    legacy::Client::builder(TokioExecutor::new()).http2_only(true).build(connector())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

// === impl Api ===

impl Api {
    pub(crate) fn new(server: &Uri) -> Result<Self, BoxError> {
        let authority = server.authority().ok_or("the server's URL names no host")?;
        Ok(Self { origin: format!("http://{authority}"), client: http1() })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// One of the application's calls, without a token.
    pub(crate) fn request(&self, call: &Call) -> Request {
        let body = if call.method == Method::POST { r#"{"text":"hello"}"# } else { "" };
        self.json(call.method.clone(), call.path, body.into())
    }

    pub(crate) async fn sign_in(&self) -> Result<Pair, BoxError> {
        let user = json!({ "username": "alice", "password": "alice" });
        self.fetch(self.json(Method::POST, "/auth/token/", user.to_string())).await
    }

    /// Exchanges a refresh token, without the crate.
    pub(crate) async fn refresh(&self, refresh: &str) -> Result<Pair, BoxError> {
        let body = json!({ "refresh": refresh });
        self.fetch(self.json(Method::POST, REFRESH, body.to_string())).await
    }

    /// The refresher of a session, with a client of its own.
    pub(crate) fn refresher(&self) -> Result<JsonEndpoint, BoxError> {
        let url = format!("{}{REFRESH}", self.origin);
        Ok(JsonEndpoint::try_with_transport(url, http1())?.for_simplejwt())
    }

    pub(crate) async fn counts(&self) -> Result<Counts, BoxError> {
        self.fetch(self.json(Method::GET, "/_counts", String::new())).await
    }

    /// Makes a call with this token.
    pub(crate) async fn send(&self, call: &Call, access: &str) -> Result<StatusCode, BoxError> {
        let mut request = self.request(call);
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {access}").parse()?);
        let response = self.client.request(request).await?;
        let status = response.status();
        // Read the body to its end, so that the connection can be reused.
        response.into_body().collect().await?;
        Ok(status)
    }

    fn json(&self, method: Method, path: &str, body: String) -> Request {
        http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .expect("the origin is from a URI, the paths are constants")
    }

    async fn fetch<T: DeserializeOwned>(&self, request: Request) -> Result<T, BoxError> {
        let response = self.client.request(request).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(status.to_string().into());
        }
        Ok(serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?)
    }
}

// === impl Call ===

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

// === impl Counts ===

impl Counts {
    pub(crate) fn refreshes(&self) -> usize {
        self.refresh_calls.values().sum()
    }

    pub(crate) fn refused(&self) -> usize {
        self.refresh_calls.get(&StatusCode::UNAUTHORIZED.as_u16()).copied().unwrap_or(0)
    }
}

// === impl Pair ===

impl Pair {
    pub(crate) fn expires_at(&self) -> Result<SystemTime, BoxError> {
        jwt::expires_at(&self.access).ok_or_else(|| "the access token isn't a JWT with an `exp`".into())
    }
}
