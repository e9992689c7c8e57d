//! [`MapBody`].

use std::fmt;

use bytes::Bytes;
use http::Version;
use http_body::Body;

use super::{
    NotReplayed, Replay,
    body::BufferedBody,
    buffered::{Buffered, Retained},
    sealed::Sealed,
};

/// [`Buffered`] for an inner service with a fixed body type. Created by [`Buffered::map_body`].
///
/// `B` is the caller's body type, `Out` the inner service's.
pub struct MapBody<B, Out> {
    buffered: Buffered,
    map: fn(BufferedBody<B>) -> Out,
}

// === impl Buffered ===

impl Buffered {
    /// Maps the outgoing body to another type, for an inner service with a fixed body type.
    pub fn map_body<B, Out>(self, map: fn(BufferedBody<B>) -> Out) -> MapBody<B, Out> {
        MapBody { buffered: self, map }
    }
}

// === impl MapBody ===

impl<B, Out> Sealed for MapBody<B, Out> {}

#[diagnostic::do_not_recommend]
impl<B, Out> Replay<B> for MapBody<B, Out>
where
    B: Body<Data = Bytes> + 'static,
    Out: 'static,
{
    type Body = Out;
    type Retained = Retained<B>;

    fn split(&self, body: B) -> (Out, Option<Retained<B>>) {
        let (body, retained) = self.buffered.split(body);
        ((self.map)(body), retained)
    }

    fn stop(&self, retained: Retained<B>, version: Version) -> Result<Retained<B>, NotReplayed> {
        Replay::<B>::stop(&self.buffered, retained, version)
    }

    fn replay(&self, retained: Retained<B>) -> Out {
        (self.map)(self.buffered.replay(retained))
    }
}

impl<B, Out> Clone for MapBody<B, Out> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B, Out> Copy for MapBody<B, Out> {}

impl<B, Out> fmt::Debug for MapBody<B, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapBody").field("buffered", &self.buffered).finish_non_exhaustive()
    }
}
