//! An async mutex with a second check, as most clients have it.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::{
    client::{Client, takes},
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
        if takes(&self.server, &access).await {
            return true;
        }
        let Some(access) = self.newer_than(&access).await else { return false };
        takes(&self.server, &access).await
    }

    async fn access(&self) -> Option<String> {
        self.grant.lock().await.as_ref().map(|grant| grant.access.clone())
    }
}

impl Locked {
    async fn newer_than(&self, access: &str) -> Option<String> {
        let mut held = self.grant.lock().await;
        let grant = held.as_ref()?;
        if grant.access == access {
            // The flaw: whoever gives up here takes the new refresh token with them.
            let new = self.server.refresh(&grant.refresh).await.ok();
            *held = new;
        }
        held.as_ref().map(|grant| grant.access.clone())
    }
}
