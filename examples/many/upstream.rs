//! The upstream: a token endpoint, and a resource server that knows each user's current token.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;

use crate::{BoxError, accounts::Accounts, loopback};

/// A running server.
pub(crate) struct Upstream {
    address: SocketAddr,
    backend: Arc<Backend>,
}

#[derive(Default)]
struct Backend {
    accounts: Mutex<Accounts>,
    refreshing: AtomicUsize,
}

/// Enough for other refreshes, and for callers of the same user, to arrive in the meantime.
const TOKEN_ENDPOINT_DELAY: Duration = Duration::from_millis(20);

// === impl Upstream ===

impl Upstream {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let backend = Arc::new(Backend::default());
        let address = loopback::serve({
            let backend = Arc::clone(&backend);
            move |request| Arc::clone(&backend).respond(request)
        });
        Ok(Self { address: address.await?, backend })
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn token_endpoint(&self) -> String {
        format!("http://{}/token", self.address)
    }

    pub(crate) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.backend.accounts()
    }
}

// === impl Backend ===

impl Backend {
    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let segments: Vec<_> = head.uri.path().split('/').collect();
        match segments[..] {
            ["", "token"] => match body.collect().await {
                Ok(body) => self.refresh(&body.to_bytes()).await,
                Err(_) => response(StatusCode::BAD_REQUEST, ""),
            },
            ["", "users", user, "callers", caller] => self.call(user, caller, &head.headers),
            _ => response(StatusCode::NOT_FOUND, ""),
        }
    }

    async fn refresh(&self, form: &[u8]) -> Response<Full<Bytes>> {
        let form: HashMap<_, _> = form_urlencoded::parse(form).collect();
        let refreshing = self.refreshing.fetch_add(1, Ordering::Relaxed) + 1;
        let exchange = {
            let mut accounts = self.accounts();
            let most = &mut accounts.counts.most_refreshes_at_once;
            *most = refreshing.max(*most);
            accounts.refresh(form.get("refresh_token").map_or("", |refresh| refresh))
        };
        tokio::time::sleep(TOKEN_ENDPOINT_DELAY).await;
        self.refreshing.fetch_sub(1, Ordering::Relaxed);
        match exchange {
            Some((access, refresh)) => {
                let token =
                    json!({ "access_token": access, "token_type": "Bearer", "refresh_token": refresh });
                response(StatusCode::OK, token.to_string())
            }
            None => response(StatusCode::BAD_REQUEST, json!({ "error": "invalid_grant" }).to_string()),
        }
    }

    fn call(&self, user: &str, caller: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let access = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        let status = self.accounts().call(user, caller, access);
        response(status, if status.is_success() { user.to_owned() } else { String::new() })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
