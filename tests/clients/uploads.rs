//! Rejected uploads.

use std::sync::{Arc, OnceLock, atomic::Ordering};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::{sync::mpsc, time::timeout};
use tower_reauth::{RefreshError, SkipAuth, future::AuthReport, refresh_fn, replay::NotReplayed};

use crate::{
    client::{Client, LONG, Settings, VERSIONS, bytes, post, stream, with_option},
    loopback::{Reply, Server, status},
    session::{session, session_with},
    support::token,
};

async fn p16_an_upload_of_bytes_is_retried_whatever_its_size<C: Client>() {
    let upload: Vec<u8> = (0..1_000_000_u32).map(|index| index as u8).collect();
    for version in VERSIONS {
        let server = Server::accepting_a2().await;
        let client = C::new(session().0.layer(), version);
        let response = client.send(post(server.url("/"), upload.clone())).await.unwrap();
        assert!(bytes(response).await == upload, "{version:?}");
        assert_eq!(server.tokens(), ["A1", "A2"], "{version:?}");
        for request in server.received() {
            assert_eq!(request.headers["content-length"], "1000000", "{version:?}");
        }
    }
}

async fn p16_a_stream_is_retried_from_its_buffer<C: Client>() {
    for version in VERSIONS {
        let server = Server::accepting_a2().await;
        let client = C::new(session().0.layer(), version);
        let (body, _) = stream([Bytes::from("first,"), Bytes::from("second")]);
        let response = client.send(post(server.url("/"), body)).await.unwrap();
        assert_eq!(bytes(response).await, "first,second", "{version:?}");
        assert_eq!(server.tokens(), ["A1", "A2"], "{version:?}");
    }
}

/// It is never sent truncated. The next upload has the new token.
async fn p16_c101_a_stream_beyond_the_buffer_limit_is_not_retried<C: Client>() {
    const SIZE: usize = 100_000;
    for version in VERSIONS {
        let server = Server::accepting_a2().await;
        let upload = || stream([Bytes::from(vec![1; SIZE / 2]), Bytes::from(vec![2; SIZE / 2])]).0;
        let (limited, refreshes) = session();
        let client = C::new(limited.layer(), version);
        let response = client.send(post(server.url("/"), upload())).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{version:?}");
        let report = response.extensions().get::<AuthReport>().unwrap();
        assert_eq!(report.not_replayed(), Some(NotReplayed::TooLarge), "{version:?}");
        let response = client.send(post(server.url("/"), upload())).await.unwrap();
        assert_eq!(bytes(response).await.len(), SIZE, "{version:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{version:?}");

        let settings = Settings { buffer_limit: 2 * SIZE, ..version.into() };
        let client = C::new(session().0.layer(), settings);
        let response = client.send(post(server.url("/"), upload())).await.unwrap();
        assert_eq!(bytes(response).await.len(), SIZE, "{version:?}");
        assert_eq!(server.tokens(), ["A1", "A2", "A1", "A2"], "{version:?}");
        assert!(server.received().iter().all(|request| request.body.len() == SIZE), "{version:?}");
    }
}

/// Its second chunk is sent after the server received the first.
async fn p16_the_first_attempt_of_a_stream_is_not_delayed<C: Client>() {
    for version in VERSIONS {
        let (saw, mut seen) = mpsc::unbounded_channel();
        let server = Server::start_unread(move |_, mut body| {
            let saw = saw.clone();
            async move {
                while let Some(frame) = body.frame().await {
                    saw.send(frame?.into_data().unwrap_or_default()).unwrap();
                }
                Ok(Reply::default())
            }
        })
        .await;
        let client = C::new(session().0.layer(), version);
        let (body, chunks) = stream([]);
        let request = post(server.url("/"), body);
        let call = tokio::spawn(async move { client.send(request).await.unwrap().status() });
        for chunk in ["first", "second"] {
            chunks.send(Bytes::from_static(chunk.as_bytes())).unwrap();
            let seen = timeout(LONG, seen.recv()).await.expect("it comes at once");
            assert_eq!(seen.unwrap(), chunk, "{version:?}");
        }
        drop(chunks);
        assert_eq!(call.await.unwrap(), StatusCode::OK, "{version:?}");
    }
}

/// Two uploads above the flow-control window, and the refresher's request over the same connection: the rejected
/// uploads are stopped, so they don't occupy the window that the refresh needs.
async fn p16_rejected_uploads_and_their_refresher_share_a_connection<C: Client>() {
    const CHUNKS: usize = 40;
    const CHUNK: usize = 16_384;
    let (report, mut read) = mpsc::unbounded_channel();
    let server = Server::start_unread(move |request, body| {
        let report = report.clone();
        async move {
            // Before the body is read.
            if request.token() == "A1" {
                return Ok(status(401));
            }
            let body = body.collect().await?;
            if request.token() == "A2" {
                report.send(body.trailers().cloned()).unwrap();
            }
            Ok(Reply::new(body.to_bytes().into()))
        }
    })
    .await;
    // The refresher sends its request through the layered client.
    let client = Arc::new(OnceLock::<C>::new());
    let (for_refreshes, endpoint) = (Arc::clone(&client), server.url("/token"));
    let session = session_with(refresh_fn(move |_| {
        let client = for_refreshes.get().unwrap().clone();
        let request = with_option(post(&endpoint, vec![0; 200_000]), SkipAuth);
        async move {
            client.send(request).await.map_err(RefreshError::transient)?;
            Ok(token("A2 R2 600"))
        }
    }));
    let settings = Settings { buffer_limit: 8 << 20, ..Version::HTTP_2.into() };
    let client = client.get_or_init(|| C::new(session.layer(), settings));
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let mut uploads = Vec::new();
    for upload in 0..2 {
        let chunk = |index| Bytes::from(vec![(upload * CHUNKS + index) as u8; CHUNK]);
        let body = stream((0..CHUNKS).map(chunk)).0.with_trailers(trailers.clone());
        let (client, request) = (client.clone(), post(server.url("/"), body));
        let call = tokio::spawn(async move { bytes(client.send(request).await.unwrap()).await });
        uploads.push((call, (0..CHUNKS).map(chunk).collect::<Vec<_>>().concat()));
    }
    for (call, whole) in uploads {
        let received = timeout(LONG, call).await.expect("no hang").unwrap();
        assert!(received == whole, "byte for byte");
        assert_eq!(read.recv().await.unwrap().as_ref(), Some(&trailers));
    }
    assert_eq!(session.status().generation(), 2);
    assert!(server.received().iter().all(|request| request.connection == 0));
}

on_each_client!(
    #[tokio::test(flavor = "multi_thread")]
    p16_an_upload_of_bytes_is_retried_whatever_its_size,
    p16_a_stream_is_retried_from_its_buffer,
    p16_c101_a_stream_beyond_the_buffer_limit_is_not_retried,
    p16_the_first_attempt_of_a_stream_is_not_delayed,
    p16_rejected_uploads_and_their_refresher_share_a_connection,
);
