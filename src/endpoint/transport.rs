//! Sends one token request over any tower service, and says of a failure whether it had left.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tower_service::Service;
use zeroize::Zeroizing;

use super::{
    body::{Hold, RequestBody},
    error::EndpointErrorKind,
    url::EndpointUrl,
};
use crate::error::BoxError;

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type Call = Pin<Box<dyn Future<Output = Result<Response<Told>, BoxError>> + Send>>;

/// A tower service whose type is forgotten: it is called once a refresh.
#[derive(Clone)]
pub(crate) struct Transport {
    call: Arc<dyn Fn(Request<RequestBody>) -> Call + Send + Sync>,
}

/// What came back, whole.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) end: End,
}

/// A body whose type is forgotten, with the length that was told for it.
struct Told {
    length: u64,
    body: AnyBody,
}

/// How a body ended.
pub(super) enum End {
    Whole,
    /// More than the limit; what came before is let go.
    TooLong,
    Broken(BoxError),
}

/// Makes the request anew for each sending: what may be used once (an assertion, a nonce) is never sent twice.
pub(crate) type MakeRequest<'a> = dyn Fn(&EndpointUrl) -> Result<Request<Bytes>, BoxError> + Send + Sync + 'a;

// === impl Transport ===

impl Transport {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // The mutex makes it shareable where the service isn't; it is held to clone alone.
        let service = Mutex::new(service);
        let call = move |request| {
            let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let call = async move {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(|body| {
                    // The mapped body doesn't know it any more.
                    let length = body.size_hint().lower();
                    let body = body.map_frame(|frame| frame.map_data(|mut data| copy(&mut data)));
                    Told { length, body: body.map_err(Into::into).boxed_unsync() }
                }))
            };
            Box::pin(call) as Call
        };
        Self { call: Arc::new(call) }
    }

    /// Sends a request, and follows a redirect that keeps it within its origin (RFC 9110 §15.4.8, §15.4.9).
    ///
    /// `sent` tells, also of a call that is dropped, whether what the request carries may have left; what hadn't by then
    /// never does.
    pub(super) async fn send(
        &self,
        url: &EndpointUrl,
        make: &MakeRequest<'_>,
        most: usize,
        sent: &Sent,
    ) -> Result<Reply, EndpointErrorKind> {
        let mut url = url.clone();
        let mut redirects = 0;
        let mut tried_again = false;
        loop {
            let (head, bytes) = make(&url).map_err(EndpointErrorKind::Request)?.into_parts();
            let (body, hold) = RequestBody::new(bytes);
            sent.watch(hold);
            let response = match (self.call)(Request::from_parts(head, body)).await {
                Ok(response) => response,
                Err(error) if sent.give_up() => return Err(EndpointErrorKind::Unanswered(error)),
                // RFC 9110 §9.2.2: nothing of it has left.
                Err(error) if !tried_again && is_dead_connection(&*error) => {
                    tried_again = true;
                    continue;
                }
                Err(error) => return Err(EndpointErrorKind::Unsent(error)),
            };
            let status = response.status();
            if !status.is_redirection() {
                return Ok(collect(response, most).await);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let target = location.map_or(Err(None), |location| url.same_origin(location));
            let keeps = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            url = match target {
                Ok(target) if keeps && redirects < MOST_REDIRECTS => target,
                Ok(target) => return Err(EndpointErrorKind::Redirected { status, target: target.origin() }),
                Err(target) => return Err(EndpointErrorKind::Redirected { status, target }),
            };
            redirects += 1;
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Whether a request may have left, to be asked from beside it.
#[derive(Default)]
pub(super) struct Sent {
    hold: Mutex<Option<Hold>>,
}

// === impl Sent ===

impl Sent {
    /// Whether it left. If it hasn't, it can't any more: a transport may go on with it in a task of its own.
    pub(super) fn give_up(&self) -> bool {
        self.lock().as_ref().is_some_and(Hold::give_up)
    }

    fn watch(&self, hold: Hold) {
        *self.lock() = Some(hold);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Reads a body up to a limit into one buffer, which is wiped.
async fn collect(response: Response<Told>, most: usize) -> Reply {
    let (head, body) = response.into_parts();
    let mut buffer = Zeroizing::default();
    let end = fill(&mut buffer, body, most).await;
    Reply { status: head.status, headers: head.headers, body: buffer, end }
}

async fn fill(buffer: &mut Zeroizing<Vec<u8>>, told: Told, most: usize) -> End {
    let Told { length, mut body } = told;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > most {
        return End::TooLong;
    }
    // What is told is no promise.
    buffer.reserve_exact(length.min(MOST_AHEAD));
    let mut empty = 0;
    while let Some(frame) = body.frame().await {
        let is_empty = |frame: &http_body::Frame<Bytes>| frame.data_ref().is_none_or(Bytes::is_empty);
        empty += usize::from(frame.as_ref().is_ok_and(is_empty));
        match frame.map(http_body::Frame::into_data) {
            _ if empty > MOST_EMPTY => return End::TooLong,
            Ok(Ok(data)) if data.len() > most - buffer.len() => return End::TooLong,
            Ok(Ok(data)) => append(buffer, &data, most),
            Ok(Err(_trailers)) => {}
            Err(error) => return End::Broken(error),
        }
    }
    End::Whole
}

/// A buffer that grows by itself leaves unwiped copies behind.
fn append(buffer: &mut Zeroizing<Vec<u8>>, data: &[u8], most: usize) {
    let needed = buffer.len() + data.len();
    if needed > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity((2 * needed).min(most)));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(data);
}

fn copy(data: &mut impl bytes::Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

/// Whether a connection that was kept turned out to be closed: another one may do.
fn is_dead_connection(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_canceled() || error.is_closed())
        {
            return true;
        }
        let io = error.downcast_ref::<io::Error>();
        let kind = io.map(io::Error::kind);
        if let Some(BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof) = kind {
            return true;
        }
        next = match io {
            // Its own source is that of the error within, which is passed over.
            Some(io) => io.get_ref().map(|within| within as _),
            None => error.source(),
        };
    }
    false
}

const MOST_REDIRECTS: usize = 3;

/// Frames of nothing, which no limit on bytes ends, nor one on time if they are there at once.
const MOST_EMPTY: usize = 1024;

/// What is reserved at most for a body that hasn't come yet.
const MOST_AHEAD: usize = 256 * 1024;
