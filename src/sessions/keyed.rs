//! [`AuthLayer::keyed`].

use std::{hash::Hash, sync::Arc};

use crate::{
    error::{Error, ErrorKind},
    layer::AuthLayer,
    request::source::{ChooseSession, Chosen, Loading, RequestHead},
    session::Session,
};

use super::{SessionHandle, Sessions, find::Found, load::Waited};

/// Finds the session of a request by a key.
struct Keyed<K, S, F> {
    sessions: Sessions<K, S>,
    key: F,
}

// === impl AuthLayer ===

impl AuthLayer {
    /// Creates a layer that finds the session of each request by a key that `key` takes from the request.
    ///
    /// A request without a key fails with [`is_missing_session`](Error::is_missing_session). The session is loaded if
    /// necessary; the errors of that are those of [`Sessions::get`]. A wait timeout set on the request or the layer
    /// bounds the load, and then, separately, the wait for a token. Otherwise only the
    /// [load timeout](super::SessionsBuilder::load_timeout) bounds the load.
    ///
    /// **Take the key from what your own code has put into the request, after it has authenticated the caller.** A
    /// header that the caller sent must never decide whose token is attached.
    ///
    /// See the [module docs](crate::sessions) for an example.
    pub fn keyed<K, S>(
        sessions: Sessions<K, S>,
        key: impl Fn(RequestHead<'_>) -> Option<K> + Send + Sync + 'static,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        S: SessionHandle,
    {
        Self::choosing(Keyed { sessions, key })
    }
}

// === impl Keyed ===

impl<K, S, F> ChooseSession for Keyed<K, S, F>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
    F: Fn(RequestHead<'_>) -> Option<K> + Send + Sync + 'static,
{
    fn choose(&self, head: RequestHead<'_>) -> Chosen {
        let Some(key) = (self.key)(head) else {
            return Chosen::Failed(Error::new(ErrorKind::MissingSession));
        };
        let map = &self.sessions.map;
        let load = match map.find(&key, |handle: &S| Session::clone(handle.session())) {
            Ok(Found::Session(session)) => return Chosen::Session(session),
            Ok(Found::Loading(load)) => load,
            Err(error) => return Chosen::Failed(error),
        };
        let sessions = self.sessions.clone();
        let future = Box::pin(async move {
            let handle = match load.wait(&*sessions.map.settings.clock).await {
                Waited::Ended(loaded) => loaded?,
                Waited::Discarded | Waited::Overdue => sessions.get(&key).await?,
            };
            Ok(handle.session().clone())
        });
        Chosen::Loading(Loading { future, clock: Arc::clone(&map.settings.clock) })
    }
}
