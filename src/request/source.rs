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
