//! A body of frames without data.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tower::service_fn;
use tower_reauth::{Refresher, endpoint::RequestBody, oauth2::Client};

use crate::fixed::{URL, r1};

/// Frames of nothing, without an end, each there at once.
struct Nothing;

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
    }
}

#[tokio::test]
async fn c97_a_body_of_nothing_without_an_end_is_response_limit() {
    let transport = service_fn(|request: Request<RequestBody>| async move {
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(Response::new(Nothing))
    });
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let client = client.timeout(Duration::from_secs(1));
        let _ = done.send(runtime.block_on(client.refresh_token_grant().refresh(r1())));
    });
    let result = ended.recv_timeout(Duration::from_secs(10)).expect("it ends within its time limit");
    assert!(result.is_err());
}
