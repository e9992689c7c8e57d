//! [`Sessions::close`].

use std::{
    hash::Hash,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use crate::{error::Error, sync};

use super::{SessionHandle, Sessions, shard::PendingKey};

// === impl Sessions ===

impl<K, S> Sessions<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    /// Ends all sessions before the program exits: waits for the refreshes in flight and their saves, at most for
    /// `timeout`.
    ///
    /// No further session is loaded and no further refresh starts, not even those that wait for
    /// [a permit](super::SessionsBuilder::max_refreshes).
    ///
    /// # Errors
    ///
    /// As [`Session::shutdown`](crate::Session::shutdown), for the first session that failed. The others have been
    /// waited for. Calling it again waits for, and saves, what is left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the wait; the map stays closed.
    pub async fn close(&self, timeout: Duration) -> Result<(), Error> {
        let map = &self.map;
        map.is_closed.store(true, Ordering::Relaxed);
        let mut ending = Vec::new();
        for shard in &map.shards {
            let mut shard = sync::lock(shard);
            map.uncount(shard.resident.len());
            let shard = &mut *shard;
            for (key, session) in shard.resident.drain(..).chain(shard.in_use.drain(..)) {
                shard.pending.insert(key, PendingKey::Ending(session.handle));
            }
            ending.extend(shard.pending.iter().filter_map(|(key, pending)| match pending {
                PendingKey::Ending(session) | PendingKey::Loading { after: Some(session), .. } => {
                    Some((key.clone(), session.clone()))
                }
                PendingKey::Loading { after: None, .. } => None,
            }));
        }
        for (_, session) in &ending {
            session.session().begin_shutdown();
        }
        let mut running = FuturesUnordered::new();
        for (key, session) in ending {
            if session.session().is_at_rest_and_saved() {
                map.forget_ended(&key, &session);
                continue;
            }
            let map = Arc::clone(map);
            running.push(async move {
                session.session().shutdown(timeout).await?;
                map.forget_ended(&key, &session);
                Ok(())
            });
        }
        let mut result = Ok(());
        while let Some(ended) = running.next().await {
            result = result.and(ended);
        }
        result
    }
}
