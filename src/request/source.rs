//! Which session a request uses.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::{
    error::{Error, ErrorKind},
    rt::{Clock, Nanos, duration, nanos},
    session::Session,
};

/// A request without its body.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

/// Where the sessions of a layer's requests come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// All requests use this one.
    One(Session),
    Many(Arc<dyn ChooseSession>),
}

/// Chooses the session of each request.
pub(crate) trait ChooseSession: Send + Sync + 'static {
    fn choose(&self, head: RequestHead<'_>) -> Chosen;
}

pub(crate) enum Chosen {
    Session(Session),
    #[cfg_attr(not(feature = "sessions"), expect(dead_code, reason = "for maps of sessions"))]
    Loading(Loading),
    Failed(Error),
}

/// A session that is being loaded.
pub(crate) struct Loading {
    pub(crate) future: Pin<Box<dyn Future<Output = Result<Session, Error>> + Send>>,
    /// For the timeout of the request that waits for it.
    pub(crate) clock: Arc<dyn Clock>,
}

/// The session that the request carries.
pub(crate) struct FromExtensions;

// === impl RequestHead ===

impl<'a> RequestHead<'a> {
    #[inline]
    pub(crate) fn new<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URI.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

// === impl Source ===

impl Source {
    /// The session, if all requests share one.
    #[inline]
    pub(crate) fn one(&self) -> Option<&Session> {
        match self {
            Self::One(session) => Some(session),
            Self::Many(_) => None,
        }
    }
}

// === impl Loading ===

impl Loading {
    /// Waits for at most `timeout`, and until `deadline` on the monotonic clock.
    pub(crate) fn within(self, timeout: Option<Duration>, deadline: Option<Nanos>) -> Self {
        let left = deadline.map(|deadline| deadline.saturating_sub(self.clock.now().monotonic));
        let timeout = timeout.map(nanos);
        let (timeout, kind) = match (timeout, left) {
            (Some(timeout), Some(left)) if timeout < left => (timeout, ErrorKind::Timeout),
            (_, Some(left)) => (left, ErrorKind::Deadline),
            (Some(timeout), None) => (timeout, ErrorKind::Timeout),
            (None, None) => return self,
        };
        let Self { future, clock } = self;
        let timer = clock.sleep(duration(timeout));
        let future = Box::pin(async move {
            let timer = timer.map_err(|_| Error::new(ErrorKind::MissingRuntime))?;
            match select(future, timer).await {
                Either::Left((loaded, _)) => loaded,
                Either::Right(_) => Err(Error::new(kind)),
            }
        });
        Self { future, clock }
    }
}

// === impl FromExtensions ===

impl ChooseSession for FromExtensions {
    fn choose(&self, head: RequestHead<'_>) -> Chosen {
        match head.extensions.get::<Session>() {
            Some(session) => Chosen::Session(session.clone()),
            None => Chosen::Failed(Error::new(ErrorKind::MissingSession)),
        }
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::{future::pending, time::SystemTime};

    use super::*;
    use crate::rt::TestClock;

    /// The earlier one ends the load, and the caller gets an error that says which it was.
    #[tokio::test(start_paused = true)]
    async fn p20_a_load_ends_with_the_wait_timeout_or_the_deadline() {
        let seconds = Duration::from_secs;
        for (timeout, left, expected, is_deadline) in [
            (Some(2), None, 2, false),
            (None, Some(3), 3, true),
            (Some(2), Some(3), 2, false),
            (Some(3), Some(2), 2, true),
            (Some(2), Some(2), 2, true),
        ] {
            let clock = TestClock::new(SystemTime::UNIX_EPOCH);
            let deadline = left.map(|left| clock.now().monotonic + nanos(seconds(left)));
            let loading = Loading { future: Box::pin(pending()), clock: Arc::new(clock) };
            let start = tokio::time::Instant::now();
            let error = loading.within(timeout.map(seconds), deadline).future.await.unwrap_err();
            assert_eq!(start.elapsed().as_secs(), expected, "{timeout:?} {left:?}");
            assert_eq!((error.is_deadline_exceeded(), error.is_timeout()), (is_deadline, !is_deadline));
        }
    }
}
