//! Rejected uploads.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use reqwest::{
    Body, Response,
    multipart::{Form, Part},
};
use tokio::{sync::mpsc, time::timeout};
use tower_reauth::{RefreshError, Token, future::AuthReport, refresh_fn, replay::NotReplayed};

use crate::{
    sender::Kind,
    server::{LONG, Reply, Server, http1, http2, serve, session, session_with, status},
};

/// A stream whose chunks the test sends.
struct Chunks(mpsc::UnboundedReceiver<Bytes>);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

fn stream(chunks: impl IntoIterator<Item = Bytes>) -> (Body, mpsc::UnboundedSender<Bytes>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    for chunk in chunks {
        sender.send(chunk).unwrap();
    }
    (Body::wrap(Chunks(receiver)), sender)
}

fn not_replayed(response: &Response) -> Option<NotReplayed> {
    response.extensions().get::<AuthReport>().unwrap().not_replayed()
}

#[tokio::test]
async fn p16_an_upload_of_bytes_is_retried_whatever_its_size() {
    let upload: Vec<u8> = (0..1_000_000_u32).map(|index| index as u8).collect();
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
        let server = Server::accepting_a2().await;
        let sender = kind.sender(session().0.layer(), &client);
        let response = sender.send(client.put(server.url("/")).body(upload.clone())).await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), upload, "{kind:?}");
        assert_eq!(server.tokens(), ["A1", "A2"], "{kind:?}");
        for request in server.received() {
            assert_eq!(request.headers["content-length"], "1000000", "{kind:?}");
        }
    }
}

#[tokio::test]
async fn p16_a_stream_is_retried_from_its_buffer() {
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
        let server = Server::accepting_a2().await;
        let sender = kind.sender(session().0.layer(), &client);
        let (body, _) = stream([Bytes::from("first,"), Bytes::from("second")]);
        let response = sender.send(client.post(server.url("/")).body(body)).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "first,second", "{kind:?}");
        assert_eq!(server.tokens(), ["A1", "A2"], "{kind:?}");
    }
}

#[tokio::test]
async fn p16_a_stream_beyond_the_buffer_limit_is_not_retried() {
    const SIZE: usize = 100_000;
    for kind in Kind::ALL {
        let server = Server::accepting_a2().await;
        let client = http1();
        let upload = || stream([Bytes::from(vec![1; SIZE / 2]), Bytes::from(vec![2; SIZE / 2])]).0;
        let sender = kind.sender(session().0.layer(), &client);
        let response = sender.send(client.post(server.url("/")).body(upload())).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{kind:?}");
        assert_eq!(not_replayed(&response), Some(NotReplayed::TooLarge), "{kind:?}");

        let layer = session().0.layer().for_reqwest().with_buffer_limit(2 * SIZE);
        let sender = kind.sender_for(layer, &client);
        let response = sender.send(client.post(server.url("/")).body(upload())).await.unwrap();
        assert_eq!(response.bytes().await.unwrap().len(), SIZE, "{kind:?}");
    }
}

/// The same boundary, too.
#[tokio::test]
async fn p16_a_multipart_form_is_retried_byte_for_byte() {
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
        let server = Server::accepting_a2().await;
        let sender = kind.sender(session().0.layer(), &client);
        let file = Part::stream(stream([Bytes::from("a"), Bytes::from("b")]).0).file_name("file");
        let form =
            Form::new().text("name", "value").part("bytes", Part::bytes(vec![3; 10_000])).part("file", file);
        let response = sender.send(client.post(server.url("/")).multipart(form)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{kind:?}");
        let [first, second] = &server.received()[..] else { panic!("{kind:?}") };
        assert_eq!(first.body, second.body, "{kind:?}");
        assert_eq!(first.headers["content-type"], second.headers["content-type"], "{kind:?}");
        assert_eq!(first.headers.get("content-length"), second.headers.get("content-length"), "{kind:?}");
        assert!(first.body.len() > 10_000, "{kind:?}");
    }
}

/// A form of known length declares it in each attempt.
#[tokio::test]
async fn p16_a_multipart_form_keeps_its_declared_length() {
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
        let server = Server::accepting_a2().await;
        let sender = kind.sender(session().0.layer(), &client);
        let form = Form::new().text("name", "value");
        let response = sender.send(client.post(server.url("/")).multipart(form)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{kind:?}");
        for request in server.received() {
            assert_eq!(request.headers["content-length"], request.body.len().to_string(), "{kind:?}");
        }
    }
}

/// Rejects A1 once its upload has begun, and reports how that upload ends.
async fn rejecting_early() -> (String, mpsc::UnboundedReceiver<Option<Bytes>>) {
    let (report, ends) = mpsc::unbounded_channel();
    let url = serve(move |request: http::Request<Incoming>| {
        let report = report.clone();
        async move {
            let (head, mut body) = request.into_parts();
            if head.headers["authorization"] != "Bearer A1" {
                return Ok(Reply::new(body.collect().await?.to_bytes().into()));
            }
            let first = body.frame().await.unwrap()?.into_data().unwrap();
            tokio::spawn(async move {
                let whole =
                    body.collect().await.ok().map(|rest| [&first[..], &rest.to_bytes()].concat().into());
                report.send(whole)
            });
            Ok(status(401))
        }
    })
    .await;
    (url, ends)
}

/// The server never takes half an upload for a whole one.
#[tokio::test]
async fn d28_over_http_1_a_stream_that_is_rejected_early_is_aborted_and_retried() {
    for kind in Kind::ALL {
        let (url, mut ends) = rejecting_early().await;
        let client = http1();
        let sender = kind.sender(session().0.layer(), &client);
        let (body, more) = stream([Bytes::from("first half,")]);
        let request = client.post(&url).body(body);
        let upload = tokio::spawn(async move { sender.send(request).await.unwrap().text().await.unwrap() });
        assert_eq!(timeout(LONG, ends.recv()).await.unwrap().unwrap(), None, "{kind:?}");
        more.send(Bytes::from(" second half")).unwrap();
        drop(more);
        assert_eq!(timeout(LONG, upload).await.unwrap().unwrap(), "first half, second half", "{kind:?}");
    }
}

#[tokio::test]
async fn d28_over_http_2_a_stream_that_is_rejected_early_ends_and_is_retried() {
    for kind in Kind::ALL {
        let (url, mut ends) = rejecting_early().await;
        let client = http2();
        let sender = kind.sender(session().0.layer(), &client);
        let (body, more) = stream([Bytes::from("first half,")]);
        let request = client.post(&url).body(body);
        let upload = tokio::spawn(async move { sender.send(request).await.unwrap().text().await.unwrap() });
        let end = timeout(LONG, ends.recv()).await.unwrap().unwrap();
        assert_eq!(end.as_deref(), Some(&b"first half,"[..]), "{kind:?}");
        more.send(Bytes::from(" second half")).unwrap();
        drop(more);
        assert_eq!(timeout(LONG, upload).await.unwrap().unwrap(), "first half, second half", "{kind:?}");
    }
}

/// reqwest declares the length of a form in a header. Part of it is never taken for the whole.
#[tokio::test]
async fn d28_a_form_of_declared_length_that_is_rejected_early_is_aborted_and_retried() {
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
        let (url, mut ends) = rejecting_early().await;
        let sender = kind.sender(session().0.layer(), &client);
        let (file, more) = stream([Bytes::from("first half,")]);
        let form =
            Form::new().part("file", Part::stream_with_length(file, "first half, second half".len() as u64));
        let request = client.post(&url).multipart(form);
        let upload = tokio::spawn(async move { sender.send(request).await.unwrap().text().await.unwrap() });
        assert_eq!(timeout(LONG, ends.recv()).await.unwrap().unwrap(), None, "{kind:?}");
        more.send(Bytes::from(" second half")).unwrap();
        drop(more);
        let received = timeout(LONG, upload).await.unwrap().unwrap();
        assert!(
            received.contains("first half, second half") && received.ends_with("--\r\n"),
            "{kind:?}: {received}"
        );
    }
}

/// Its second chunk is sent after the server received the first.
#[tokio::test]
async fn p16_the_first_attempt_of_a_stream_is_not_delayed() {
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
        let (saw, mut seen) = mpsc::unbounded_channel();
        let url = serve(move |request: http::Request<Incoming>| {
            let saw = saw.clone();
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    saw.send(frame?.into_data().unwrap_or_default()).unwrap();
                }
                Ok(Reply::default())
            }
        })
        .await;
        let sender = kind.sender(session().0.layer(), &client);
        let (body, chunks) = stream([]);
        let request = client.post(&url).body(body);
        let call = tokio::spawn(async move { sender.send(request).await.unwrap().status() });
        for chunk in ["first", "second"] {
            chunks.send(Bytes::from_static(chunk.as_bytes())).unwrap();
            assert_eq!(
                timeout(LONG, seen.recv()).await.expect("it comes at once").unwrap(),
                chunk,
                "{kind:?}"
            );
        }
        drop(chunks);
        assert_eq!(call.await.unwrap(), StatusCode::OK, "{kind:?}");
    }
}

/// Two uploads above the flow-control window, and the refresher's request over the same connection: the rejected
/// uploads are stopped, so they don't occupy the window that the refresh needs.
#[tokio::test(flavor = "multi_thread")]
async fn p16_rejected_uploads_and_their_refresher_share_a_connection() {
    const CHUNKS: usize = 40;
    const CHUNK: usize = 16_384;
    for kind in Kind::ALL {
        let url = serve(|request: http::Request<Incoming>| async move {
            // Before the body is read.
            if request.headers().get("authorization").is_some_and(|token| token == "Bearer A1") {
                return Ok(status(401));
            }
            Ok(Reply::new(request.into_body().collect().await?.to_bytes().into()))
        })
        .await;
        let client = http2();
        let (for_refreshes, endpoint) = (client.clone(), url.clone());
        let session = session_with(refresh_fn(move |_| {
            let request = for_refreshes.post(&endpoint).body(vec![0; 200_000]);
            async move {
                request.send().await.map_err(RefreshError::transient)?;
                Ok(Token::try_new("A2")?)
            }
        }));
        let layer = session.layer().for_reqwest().with_buffer_limit(8 << 20);
        let sender = kind.sender_for(layer, &client);
        let mut uploads = Vec::new();
        for upload in 0..2 {
            let chunk = |index| Bytes::from(vec![(upload * CHUNKS + index) as u8; CHUNK]);
            let (body, _) = stream((0..CHUNKS).map(chunk));
            let (sender, request) = (sender.clone(), client.post(&url).body(body));
            let call =
                tokio::spawn(async move { sender.send(request).await.unwrap().bytes().await.unwrap() });
            uploads.push((call, (0..CHUNKS).map(chunk).collect::<Vec<_>>().concat()));
        }
        for (call, whole) in uploads {
            let received = timeout(LONG, call).await.expect("no hang").unwrap();
            assert!(received == whole, "{kind:?}: byte for byte");
        }
        assert_eq!(session.status().generation(), 2, "{kind:?}");
    }
}
