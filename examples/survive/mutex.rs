//! Refreshes behind an async mutex with a second check, as most clients do.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::{
    client::{Client, accepts},
    servers::{Grant, Server},
};

pub(crate) struct Locked {
    server: Arc<Server>,
    grant: Mutex<Option<Grant>>,
}

impl Client for Locked {
    const NAME: &'static str = "mutex";

    fn new(server: Arc<Server>, grant: Grant) -> Self {
        Self { server, grant: Mutex::new(Some(grant)) }
    }

    async fn call(&self) -> bool {
        let Some(access) = self.access().await else { return false };
        if accepts(&self.server, &access).await {
            return true;
        }
        let Some(access) = self.refresh(&access).await else { return false };
        accepts(&self.server, &access).await
    }

    async fn access(&self) -> Option<String> {
        self.grant.lock().await.as_ref().map(|grant| grant.access.clone())
    }
}

impl Locked {
    async fn refresh(&self, rejected: &str) -> Option<String> {
        let mut held = self.grant.lock().await;
        let grant = held.as_ref()?;
        if grant.access == rejected {
            // The bug: a caller that is cancelled here loses the new refresh token.
            let new = self.server.refresh(&grant.refresh).await.ok();
            *held = new;
        }
        held.as_ref().map(|grant| grant.access.clone())
    }
}
