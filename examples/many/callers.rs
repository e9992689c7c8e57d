//! The callers of the gateway.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    BoxError,
    database::UserId,
    loopback::{self, Client},
};

pub(crate) struct Callers {
    of_each_user: usize,
    /// The users, each with the cookie that the gateway has given them.
    users: Vec<(UserId, String)>,
}

/// More than the gateway has room for. Each of them has all their callers.
const USERS_AT_ONCE: usize = 200;

// === impl Callers ===

impl Callers {
    pub(crate) fn new(of_each_user: usize) -> Self {
        Self { of_each_user, users: Vec::new() }
    }

    pub(crate) fn add(&mut self, user: UserId) {
        self.users.push((user, format!("id={:032x}", fastrand::u128(..))));
    }

    /// Who has which cookie.
    pub(crate) fn cookies(&self) -> HashMap<String, UserId> {
        self.users.iter().map(|(user, cookie)| (cookie.clone(), user.clone())).collect()
    }

    /// Makes one call of each caller. The callers of a user call at the same time. Returns how many calls succeeded.
    pub(crate) async fn call_all(&self, gateway: SocketAddr) -> Result<usize, BoxError> {
        // One connection for the first caller of all users, one for the second, and so on.
        let clients: Vec<_> = (0..self.of_each_user).map(|_| loopback::client()).collect();
        let at_once = Arc::new(Semaphore::new(USERS_AT_ONCE));
        let mut users = JoinSet::new();
        for (user, cookie) in &self.users {
            let calls = clients.iter().enumerate().map(|(caller, client)| {
                let uri = format!("http://{gateway}/callers/{caller}");
                let request = Request::get(uri).header(header::COOKIE, cookie).body(Empty::new())?;
                Ok(call(client.clone(), request, user.clone()))
            });
            let calls = calls.collect::<Result<Vec<_>, http::Error>>()?;
            let at_once = Arc::clone(&at_once);
            users.spawn(async move {
                let _permit = at_once.acquire().await;
                join_all(calls).await
            });
        }
        let results: Vec<_> = users.join_all().await.into_iter().flatten().collect();
        if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
            println!("a call failed: {error}");
        }
        Ok(results.iter().filter(|result| result.is_ok()).count())
    }
}

/// The upstream must have taken the call for this user's.
async fn call(
    client: Client<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    user: UserId,
) -> Result<(), BoxError> {
    let response = client.request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK || body != user.0.as_bytes() {
        return Err(format!("{status} {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(())
}
