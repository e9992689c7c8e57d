//! What belongs to the traffic through one layer, and what a single request says of itself.

use std::{fmt, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{self, Entry},
};

use crate::{
    error::{Error, Kind},
    origin::{Destination, Destinations},
    rejection::{RejectionRule, Unauthorized},
    session::{Session, WaitLimits},
};

/// Marks a request that passes through the layer untouched: no token, and its answer isn't judged.
///
/// For a request of the refresher's own, for public resources, for pre-signed URLs.
///
/// # Examples
///
/// ```
/// use tower_reauth::NoToken;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(NoToken);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoToken;

/// How long one request waits for a token; it goes before the layer's and the session's patience.
///
/// # Examples
///
/// ```
/// use std::{fmt, sync::Arc, time::Duration};
/// use tower_reauth::Patience;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Patience(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub Duration);

/// What the user set on a layer.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) header: HeaderName,
    /// Put a token also where the request has that header already.
    pub(crate) overriding: bool,
    pub(crate) patience: Option<Duration>,
    pub(crate) after_rejection: Option<Duration>,
    pub(crate) max_waiting: Option<usize>,
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
        if request.extensions().get::<NoToken>().is_some() {
            return Ok(false);
        }
        Ok(self.destinations.judge(request.uri())? == Destination::Allowed)
    }

    /// Puts the credential on; called before each sending. `credential` is asked only if it is needed.
    #[inline]
    pub(crate) fn put_on(
        &self,
        headers: &mut HeaderMap,
        credential: impl FnOnce() -> Option<HeaderValue>,
    ) -> Result<PutOn, Error> {
        let full = || Error::new(Kind::TooManyHeaders);
        let entry = headers.try_entry(&self.header).map_err(|_| full())?;
        if matches!(entry, Entry::Occupied(_)) && !self.overriding {
            return Ok(PutOn::LeftAlone);
        }
        let Some(credential) = credential() else { return Ok(PutOn::NoCredential) };
        match entry {
            Entry::Vacant(vacant) => {
                vacant.try_insert(credential).map_err(|_| full())?;
            }
            Entry::Occupied(mut occupied) => {
                occupied.insert(credential);
            }
        }
        Ok(PutOn::Done)
    }

    /// Puts a newer credential in the place of the layer's own.
    pub(crate) fn replace(&self, headers: &mut HeaderMap, credential: HeaderValue) -> Result<(), Error> {
        headers.try_insert(&self.header, credential).map_err(|_| Error::new(Kind::TooManyHeaders))?;
        Ok(())
    }

    /// How long a request waits.
    pub(crate) fn limits<B>(&self, session: &Session, request: &Request<B>) -> WaitLimits {
        let limits = session.limits();
        let own = request.extensions().get::<Patience>().map(|patience| patience.0);
        WaitLimits {
            patience: own.or(self.patience).unwrap_or(limits.patience),
            to_deadline: false,
            after_rejection: self.after_rejection.unwrap_or(limits.after_rejection),
            max_waiting: self.max_waiting.or(limits.max_waiting),
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
            max_waiting: None,
            bare: false,
            destinations: Destinations::default(),
            rule: Arc::new(Unauthorized),
            grpc: false,
        }
    }
}
