//! The same without the crate: a map of the users that were seen lately, each with a lock.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use tower::Service;
use tower_reauth::Token;

use crate::{
    BoxError,
    database::{Database, UserId},
    loopback::{self, Client},
    upstream::Upstream,
};

#[derive(Clone)]
pub(crate) struct Naive {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: usize,
    users: Mutex<HashMap<UserId, Arc<Cached>>>,
    database: Arc<Database>,
    client: Client<Empty<Bytes>>,
    token_endpoint: (String, Client<Full<Bytes>>),
}

/// A user's token. The caller that refreshes it holds the lock.
type Cached = tokio::sync::Mutex<Token>;

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    refresh_token: String,
}

// === impl Naive ===

impl Naive {
    pub(crate) fn new(upstream: &Upstream, database: &Arc<Database>, capacity: usize) -> Self {
        let shared = Shared {
            capacity,
            users: Mutex::default(),
            database: Arc::clone(database),
            client: loopback::client(),
            token_endpoint: (upstream.token_endpoint(), loopback::client()),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Service<Request<Empty<Bytes>>> for Naive {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let user = request.extensions().get::<UserId>().cloned().ok_or("the request names no user")?;
            let cached = shared.find(&user)?;
            let token = cached.lock().await.clone();
            let response = shared.send(request.clone(), &token).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let mut current = cached.lock().await;
            // Another call may have refreshed it in the meantime.
            if current.access_token() == token.access_token() {
                *current = shared.refresh(&token).await?;
                shared.database.save(&user, Some(current.clone()));
            }
            let token = current.clone();
            drop(current);
            shared.send(request, &token).await
        })
    }
}

// === impl Shared ===

impl Shared {
    fn find(&self, user: &UserId) -> Result<Arc<Cached>, BoxError> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = users.get(user) {
            return Ok(Arc::clone(cached));
        }
        if users.len() >= self.capacity {
            // The fault: it may be in use, with a refresh whose outcome the database doesn't know yet.
            let evicted = users.keys().next().cloned();
            evicted.and_then(|evicted| users.remove(&evicted));
        }
        let token = self.database.load(user).ok_or("the user has signed out")?;
        let cached = Arc::new(Cached::new(token));
        users.insert(user.clone(), Arc::clone(&cached));
        Ok(cached)
    }

    async fn send(
        &self,
        mut request: Request<Empty<Bytes>>,
        token: &Token,
    ) -> Result<Response<Incoming>, BoxError> {
        request.headers_mut().insert(header::AUTHORIZATION, token.header_value());
        Ok(self.client.request(request).await?)
    }

    async fn refresh(&self, token: &Token) -> Result<Token, BoxError> {
        let (url, client) = &self.token_endpoint;
        let refresh_token = token.refresh_token().unwrap_or_default();
        let form = format!("grant_type=refresh_token&refresh_token={refresh_token}");
        let response = client.request(Request::post(url).body(Full::from(form))?).await?;
        if !response.status().is_success() {
            return Err("the refresh was refused".into());
        }
        let body = response.into_body().collect().await?.to_bytes();
        let TokenResponse { access_token, refresh_token } = serde_json::from_slice(&body)?;
        Ok(Token::builder(access_token).refresh_token(refresh_token).build()?)
    }
}
