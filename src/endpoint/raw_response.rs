//! A response whose body has been read.

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use zeroize::Zeroizing;

use crate::error::BoxError;

pub(super) struct RawResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) end: BodyEnd,
}

/// How a body ended.
pub(super) enum BodyEnd {
    Complete,
    /// It exceeds the limit; earlier data is discarded.
    TooLarge,
    Failed(BoxError),
}

/// A type-erased body and its declared size, which mapping a body loses.
pub(super) struct SizedBody {
    min_size: u64,
    body: UnsyncBoxBody<Bytes, BoxError>,
}

// === impl RawResponse ===

impl RawResponse {
    /// Reads a body of at most `max_size` bytes.
    pub(super) async fn read(response: Response<SizedBody>, max_size: usize) -> Self {
        let (head, body) = response.into_parts();
        let mut buffer = Zeroizing::default();
        let end = body.read_to(&mut buffer, max_size).await;
        Self { status: head.status, headers: head.headers, body: buffer, end }
    }
}

// === impl SizedBody ===

impl SizedBody {
    pub(super) fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let min_size = body.size_hint().lower();
        let body = body.map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())));
        Self { min_size, body: body.map_err(Into::into).boxed_unsync() }
    }

    async fn read_to(mut self, buffer: &mut Vec<u8>, max_size: usize) -> BodyEnd {
        if usize::try_from(self.min_size).is_ok_and(|size| size > max_size) {
            return BodyEnd::TooLarge;
        }
        let is_empty = |frame: &Frame<Bytes>| frame.data_ref().is_none_or(Bytes::is_empty);
        let mut empty_frames = 0;
        while let Some(frame) = self.body.frame().await {
            empty_frames += usize::from(frame.as_ref().is_ok_and(is_empty));
            match frame.map(Frame::into_data) {
                _ if empty_frames > MAX_EMPTY_FRAMES => return BodyEnd::TooLarge,
                Ok(Ok(data)) if data.len() > max_size - buffer.len() => return BodyEnd::TooLarge,
                Ok(Ok(data)) => {
                    let size = buffer.len() + data.len();
                    if size > buffer.capacity() {
                        // Doubling ends at the limit, so that memory stays below twice the limit.
                        let doubled = buffer.capacity().saturating_mul(2);
                        buffer.reserve_exact(size.max(doubled.min(max_size)) - buffer.len());
                    }
                    buffer.extend_from_slice(&data);
                }
                Ok(Err(_trailers)) => {}
                Err(error) => return BodyEnd::Failed(error),
            }
        }
        BodyEnd::Complete
    }
}

/// Limits empty frames, which neither the size limit nor, if they are ready at once, the timeout stops.
const MAX_EMPTY_FRAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http_body_util::StreamBody;

    use super::*;

    /// Frames of these sizes, read with a limit. `None`: they exceed it.
    fn read(sizes: &[usize], max_size: usize) -> Option<Vec<u8>> {
        let frames: Vec<_> = sizes.iter().map(|size| Frame::data(Bytes::from(vec![b'x'; *size]))).collect();
        let body = StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, BoxError>)));
        let mut buffer = Vec::new();
        let end =
            SizedBody::new(body).read_to(&mut buffer, max_size).now_or_never().expect("frames are ready");
        matches!(end, BodyEnd::Complete).then_some(buffer)
    }

    #[test]
    fn c97_the_buffer_doubles_up_to_the_limit() {
        for (sizes, max_size, capacity) in [
            (&[60][..], 1000, 60),
            (&[60, 10], 1000, 120),
            (&[60, 10, 50], 1000, 120),
            (&[60, 10, 51], 1000, 240),
            (&[60, 40], 100, 100),
            (&[60, 10, 30], 100, 100),
        ] {
            let buffer = read(sizes, max_size).unwrap();
            assert_eq!((buffer.len(), buffer.capacity()), (sizes.iter().sum(), capacity), "{sizes:?}");
        }
        assert!(read(&[60, 41], 100).is_none());
    }

    #[test]
    fn c97_a_limited_number_of_empty_frames_is_read() {
        let mut sizes = vec![0; MAX_EMPTY_FRAMES];
        sizes.push(1);
        assert!(read(&sizes, 1).is_some());
        sizes.push(0);
        assert!(read(&sizes, 1).is_none());
    }
}
