//! What belongs to the traffic through one layer, and what a single request says of itself.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};

use crate::{
    error::{Error, ErrorKind},
    origin::{Destination, Destinations},
    request::rejection::{RejectionRule, StatusUnauthorized},
    session::{Session, WaitLimits},
};

/// Marks a request that passes through the layer untouched: no token, and its answer isn't judged.
///
/// For a request of the refresher's own, for public resources, for pre-signed URLs.
///
/// # Examples
///
/// ```
/// use tower_reauth::SkipAuth;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(SkipAuth);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipAuth;

/// How long one request waits for a token; it goes before the layer's and the session's patience.
///
/// # Examples
///
/// ```
/// use std::{fmt, sync::Arc, time::Duration};
/// use tower_reauth::WaitTimeout;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(WaitTimeout(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeout(pub Duration);

/// What the user set on a layer.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) header: HeaderName,
    /// Put a token also where the request has that header already.
    pub(crate) overriding: bool,
    pub(crate) patience: Option<Duration>,
    pub(crate) after_rejection: Option<Duration>,
    pub(crate) max_waiters: Option<usize>,
    /// Send a request bare where there is no credential.
    pub(crate) bare: bool,
    pub(crate) destinations: Destinations,
    /// What counts as a rejection.
    pub(crate) rule: Arc<dyn RejectionRule>,
    /// The requests are gRPC calls: they have a deadline of their own, and our errors a status.
    pub(crate) grpc: bool,
}

/// What became of putting a credential on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutOn {
    Done,
    /// The request has that header already.
    LeftAlone,
    NoCredential,
}

// === impl Traffic ===

impl Traffic {
    /// Whether a request is to be given a token.
    #[inline]
    pub(crate) fn concerns<B>(&self, request: &Request<B>) -> Result<bool, Error> {
        if request.extensions().get::<SkipAuth>().is_some() {
            return Ok(false);
        }
        Ok(self.destinations.check(request.uri())? == Destination::Allowed)
    }

    /// Puts the credential on; called before each sending.
    #[inline]
    pub(crate) fn put_on(
        &self,
        headers: &mut HeaderMap,
        credential: impl FnOnce() -> Option<HeaderValue>,
    ) -> Result<PutOn, Error> {
        let full = |_| Error::new(ErrorKind::TooManyHeaders);
        let Some(credential) = credential() else {
            let is_there = !self.overriding && headers.contains_key(&self.header);
            return Ok(if is_there { PutOn::LeftAlone } else { PutOn::NoCredential });
        };
        // Nearly always the request has no such header, and this looks only once; an entry costs twice as much.
        let was_there = headers.try_append(&self.header, credential).map_err(full)?;
        if was_there {
            return Ok(self.settle_both(headers));
        }
        Ok(PutOn::Done)
    }

    /// Puts a newer credential in the place of the layer's own.
    pub(crate) fn replace(&self, headers: &mut HeaderMap, credential: HeaderValue) -> Result<(), Error> {
        headers.try_insert(&self.header, credential).map_err(|_| Error::new(ErrorKind::TooManyHeaders))?;
        Ok(())
    }

    /// The request has that header already, and ours stands last.
    #[cold]
    fn settle_both(&self, headers: &mut HeaderMap) -> PutOn {
        let mut values: Vec<_> = headers.get_all(&self.header).iter().cloned().collect();
        let ours = values.pop();
        if self.overriding {
            values.clear();
            values.extend(ours);
        }
        let mut values = values.into_iter();
        if let Some(first) = values.next() {
            // It replaces all that are there, and the header keeps its place.
            headers.insert(&self.header, first);
        }
        for value in values {
            headers.append(&self.header, value);
        }
        if self.overriding { PutOn::Done } else { PutOn::LeftAlone }
    }

    /// How long a request waits.
    pub(crate) fn limits<B>(&self, session: &Session, request: &Request<B>) -> WaitLimits {
        let limits = session.limits();
        let own = request.extensions().get::<WaitTimeout>().map(|patience| patience.0);
        WaitLimits {
            patience: own.or(self.patience).unwrap_or(limits.patience),
            to_deadline: false,
            after_rejection: self.after_rejection.unwrap_or(limits.after_rejection),
            max_waiters: self.max_waiters.or(limits.max_waiters),
        }
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic")
            .field("header", &self.header)
            .field("overriding", &self.overriding)
            .field("patience", &self.patience)
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            header: header::AUTHORIZATION,
            overriding: false,
            patience: None,
            after_rejection: None,
            max_waiters: None,
            bare: false,
            destinations: Destinations::default(),
            rule: Arc::new(StatusUnauthorized),
            grpc: false,
        }
    }
}
