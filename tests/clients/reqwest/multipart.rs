//! Multipart forms, of which reqwest makes streams.

use bytes::Bytes;
use http::StatusCode;
use reqwest::{
    Body,
    multipart::{Form, Part},
};
use tokio::time::timeout;

use crate::{
    client::{LONG, VERSIONS, stream},
    early_rejections::EarlyServer,
    loopback::Server,
    session::session,
};

use super::{ReqwestClient, client_for};

/// The same boundary, too.
async fn p16_a_multipart_form_is_retried_byte_for_byte<C: ReqwestClient>() {
    for version in VERSIONS {
        let server = Server::accepting_a2().await;
        let client = client_for(version);
        let auth = C::of(session().0.layer(), &client);
        let file = Part::stream(Body::wrap(stream([Bytes::from("a"), Bytes::from("b")]).0)).file_name("file");
        let form =
            Form::new().text("name", "value").part("bytes", Part::bytes(vec![3; 10_000])).part("file", file);
        let response = auth.send_builder(client.post(server.url("/")).multipart(form)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{version:?}");
        let [first, second] = &server.received()[..] else { panic!("{version:?}") };
        assert_eq!(first.body, second.body, "{version:?}");
        assert_eq!(first.headers["content-type"], second.headers["content-type"], "{version:?}");
        assert_eq!(first.headers.get("content-length"), second.headers.get("content-length"), "{version:?}");
        assert!(first.body.len() > 10_000, "{version:?}");
    }
}

/// A form of known length declares it in each attempt.
async fn p16_a_multipart_form_keeps_its_declared_length<C: ReqwestClient>() {
    for version in VERSIONS {
        let server = Server::accepting_a2().await;
        let client = client_for(version);
        let auth = C::of(session().0.layer(), &client);
        let form = Form::new().text("name", "value");
        let response = auth.send_builder(client.post(server.url("/")).multipart(form)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{version:?}");
        assert_eq!(server.tokens(), ["A1", "A2"], "{version:?}");
        for request in server.received() {
            assert_eq!(request.headers["content-length"], request.body.len().to_string(), "{version:?}");
        }
    }
}

/// reqwest declares the length of a form in a header. Part of it is never taken for the whole.
async fn d28_a_form_of_declared_length_that_is_rejected_early_is_aborted_and_retried<C: ReqwestClient>() {
    for version in VERSIONS {
        let mut server = EarlyServer::start().await;
        let client = client_for(version);
        let auth = C::of(session().0.layer(), &client);
        let (file, more) = stream([Bytes::from("first half,")]);
        let length = "first half, second half".len() as u64;
        let form = Form::new().part("file", Part::stream_with_length(Body::wrap(file), length));
        let request = client.post(server.url()).multipart(form);
        let upload =
            tokio::spawn(async move { auth.send_builder(request).await.unwrap().text().await.unwrap() });
        server.next_end().await.expect_err("the server must not take it for whole");
        more.send(Bytes::from(" second half")).unwrap();
        drop(more);
        let received = timeout(LONG, upload).await.expect("no hang").unwrap();
        assert!(
            received.contains("first half, second half") && received.ends_with("--\r\n"),
            "{version:?}: {received}"
        );
    }
}

on_each_reqwest_client!(
    #[tokio::test(flavor = "multi_thread")]
    p16_a_multipart_form_is_retried_byte_for_byte,
    p16_a_multipart_form_keeps_its_declared_length,
    d28_a_form_of_declared_length_that_is_rejected_early_is_aborted_and_retried,
);
