//! [`BodyReplay`].

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use http::Version;
use http_body::Body as _;
use reqwest::{Body, Url};

use crate::request::replay::{Buffered, NotReplayed, Replay, Retained, sealed::Sealed};

use super::convert::Outgoing;

/// Replays the bodies of reqwest's requests.
///
/// Bytes are shared. They stay bytes in each attempt, so that reqwest can follow a redirect that repeats the
/// body (307, 308). Streams, which include multipart forms, are buffered as in [`Buffered`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyReplay {
    streams: Buffered,
}

/// What [`BodyReplay`] retains of a body.
#[derive(Debug)]
pub struct RetainedBody {
    kind: Kind,
}

/// Replays an [`Outgoing`]. Not [`BodyReplay`] itself: if that replayed two types, a call of tower's `ready` would
/// need a type annotation.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutgoingReplay(pub(super) BodyReplay);

/// What is retained of an [`Outgoing`].
pub(super) struct RetainedOutgoing<V> {
    via: V,
    url: Arc<Url>,
    body: RetainedBody,
}

#[derive(Debug)]
enum Kind {
    Bytes(Bytes),
    Stream(Retained<Body>),
}

// === impl BodyReplay ===

impl BodyReplay {
    /// Buffers up to `limit` bytes of a stream.
    pub(super) fn new(limit: usize) -> Self {
        Self { streams: Buffered::new(limit) }
    }
}

impl Sealed for BodyReplay {}

#[diagnostic::do_not_recommend]
impl Replay<Body> for BodyReplay {
    type Body = Body;
    type Retained = RetainedBody;

    fn split(&self, body: Body) -> (Body, Option<RetainedBody>) {
        match into_bytes(body) {
            Ok(bytes) => (Body::from(bytes.clone()), Some(RetainedBody { kind: Kind::Bytes(bytes) })),
            Err(stream) => {
                let (body, retained) = self.streams.split(stream);
                (Body::wrap(body), retained.map(|retained| RetainedBody { kind: Kind::Stream(retained) }))
            }
        }
    }

    fn stop(&self, retained: RetainedBody, version: Version) -> Result<RetainedBody, NotReplayed> {
        let kind = match retained.kind {
            Kind::Bytes(bytes) => Kind::Bytes(bytes),
            Kind::Stream(stream) => Kind::Stream(Replay::<Body>::stop(&self.streams, stream, version)?),
        };
        Ok(RetainedBody { kind })
    }

    fn replay(&self, retained: RetainedBody) -> Body {
        match retained.kind {
            Kind::Bytes(bytes) => Body::from(bytes),
            Kind::Stream(stream) => Body::wrap(self.streams.replay(stream)),
        }
    }
}

// === impl OutgoingReplay ===

impl Sealed for OutgoingReplay {}

impl<V: Clone> Replay<Outgoing<V>> for OutgoingReplay {
    type Body = Outgoing<V>;
    type Retained = RetainedOutgoing<V>;

    fn split(&self, outgoing: Outgoing<V>) -> (Outgoing<V>, Option<RetainedOutgoing<V>>) {
        let Outgoing { via, url, body } = outgoing;
        let (body, retained) = self.0.split(body);
        let retained =
            retained.map(|body| RetainedOutgoing { via: via.clone(), url: Arc::clone(&url), body });
        (Outgoing { via, url, body }, retained)
    }

    fn stop(
        &self,
        retained: RetainedOutgoing<V>,
        version: Version,
    ) -> Result<RetainedOutgoing<V>, NotReplayed> {
        let body = self.0.stop(retained.body, version)?;
        Ok(RetainedOutgoing { body, ..retained })
    }

    fn replay(&self, retained: RetainedOutgoing<V>) -> Outgoing<V> {
        let RetainedOutgoing { via, url, body } = retained;
        Outgoing { via, url, body: self.0.replay(body) }
    }
}

/// Takes the bytes of a body out without a copy. An error has the body back, as it is a stream.
fn into_bytes(mut body: Body) -> Result<Bytes, Body> {
    let Some(length) = body.as_bytes().map(<[u8]>::len) else { return Err(body) };
    // reqwest clones a body only with its request. One of bytes yields all of them as its only frame.
    let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).now_or_never().flatten();
    let bytes = frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    debug_assert_eq!(bytes.len(), length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p16_bytes_are_shared_and_stay_bytes() {
        let bytes = Bytes::from(vec![7; 100_000]);
        let replay = BodyReplay::default();
        let (sent, retained) = replay.split(Body::from(bytes.clone()));
        assert_eq!(sent.as_bytes().map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
        let retained = replay.stop(retained.unwrap(), Version::HTTP_11).unwrap();
        assert_eq!(replay.replay(retained).as_bytes().map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
    }
}
