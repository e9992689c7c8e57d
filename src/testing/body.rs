//! [`ResponseBody`].

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a response from an [`Issuer`](super::Issuer) or a [`Resource`](super::Resource): at most one
/// data frame.
#[derive(Clone, Debug, Default)]
pub struct ResponseBody {
    data: Option<Bytes>,
}

// === impl ResponseBody ===

impl<T: Into<Bytes>> From<T> for ResponseBody {
    fn from(data: T) -> Self {
        Self { data: Some(data.into()).filter(|data| !data.is_empty()) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
