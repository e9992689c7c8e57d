//! Refreshes in each call, without a lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    client::{Client, accepts},
    servers::{Grant, Server},
};

pub(crate) struct Naive {
    server: Arc<Server>,
    grant: Mutex<Option<Grant>>,
}

impl Client for Naive {
    const NAME: &'static str = "naive";

    fn new(server: Arc<Server>, grant: Grant) -> Self {
        Self { server, grant: Mutex::new(Some(grant)) }
    }

    async fn call(&self) -> bool {
        let Some(grant) = self.grant().clone() else { return false };
        if accepts(&self.server, &grant.access).await {
            return true;
        }
        // The bug: each rejected call gets here, with the same refresh token.
        let Ok(new) = self.server.refresh(&grant.refresh).await else {
            *self.grant() = None;
            return false;
        };
        // A client that was signed out meanwhile stays signed out.
        if let Some(grant) = &mut *self.grant() {
            *grant = new.clone();
        }
        accepts(&self.server, &new.access).await
    }

    async fn access(&self) -> Option<String> {
        self.grant().as_ref().map(|grant| grant.access.clone())
    }
}

impl Naive {
    fn grant(&self) -> MutexGuard<'_, Option<Grant>> {
        self.grant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
