//! Uploads that are still running when their 401 arrives.

use bytes::Bytes;
use http::{StatusCode, Version};
use http_body_util::BodyExt;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tower_reauth::{RefreshError, Session, SkipAuth, refresh_fn};

use crate::{
    client::{Client, LONG, Response, bytes, get, post, stream, with_option},
    loopback::{Reply, Server, status},
    session::{session, session_with},
};

/// Rejects A1 once its upload has begun, and then reads it to its end.
pub(crate) struct EarlyServer {
    server: Server,
    /// How each rejected upload ended: with its bytes, or with an error.
    ends: mpsc::UnboundedReceiver<Result<Bytes, hyper::Error>>,
}

impl EarlyServer {
    pub(crate) async fn start() -> Self {
        let (report, ends) = mpsc::unbounded_channel();
        let server = Server::start_unread(move |request, mut body| {
            let report = report.clone();
            async move {
                if request.token() != "A1" {
                    return Ok(Reply::new(body.collect().await?.to_bytes().into()));
                }
                let first = body.frame().await.unwrap()?.into_data().unwrap();
                tokio::spawn(async move {
                    let rest = body.collect().await;
                    report.send(rest.map(|rest| [&first[..], &rest.to_bytes()].concat().into()))
                });
                Ok(status(401))
            }
        })
        .await;
        Self { server, ends }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("/")
    }

    pub(crate) async fn next_end(&mut self) -> Result<Bytes, hyper::Error> {
        timeout(LONG, self.ends.recv()).await.expect("the upload ends").unwrap()
    }

    /// Whether each of the requests so far came on the connection of the first.
    fn on_first_connection(&self) -> Vec<bool> {
        let received = self.server.received();
        received.iter().map(|request| request.connection == received[0].connection).collect()
    }
}

/// Half an upload.
struct Upload<C> {
    client: C,
    more: mpsc::UnboundedSender<Bytes>,
    response: JoinHandle<Response>,
}

impl<C: Client> Upload<C> {
    /// Starts it with the token that is rejected.
    fn start(server: &EarlyServer, session: &Session, version: Version) -> Self {
        let client = C::new(session.layer(), version);
        let (body, more) = stream([Bytes::from("first half,")]);
        let (sender, request) = (client.clone(), post(server.url(), body));
        let response = tokio::spawn(async move { sender.send(request).await.unwrap() });
        Self { client, more, response }
    }

    /// Sends the rest.
    async fn finish(self) -> Bytes {
        self.more.send(Bytes::from(" second half")).unwrap();
        drop(self.more);
        let response = timeout(LONG, self.response).await.expect("no hang").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        bytes(response).await
    }
}

/// Another request of the client.
async fn get_without_token(client: &impl Client, server: &EarlyServer) {
    let request = with_option(get(server.url()), SkipAuth);
    timeout(LONG, client.send(request)).await.expect("no hang").unwrap();
}

/// The server never takes half an upload for a whole one, and the connection isn't used again.
async fn d28_over_http_1_a_stopped_upload_fails_and_its_connection_is_not_used_again<C: Client>() {
    let mut server = EarlyServer::start().await;
    let session = session_with(refresh_fn(|_| async { Err(RefreshError::transient("down")) }));
    let upload = Upload::<C>::start(&server, &session, Version::HTTP_11);
    let response = timeout(LONG, upload.response).await.expect("no hang").unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    server.next_end().await.expect_err("the server must not take it for whole");
    drop(response);
    get_without_token(&upload.client, &server).await;
    assert_eq!(server.on_first_connection(), [true, false]);
}

async fn d28_over_http_1_a_stopped_upload_is_retried_on_another_connection<C: Client>() {
    let mut server = EarlyServer::start().await;
    let upload = Upload::<C>::start(&server, &session().0, Version::HTTP_11);
    server.next_end().await.expect_err("the server must not take it for whole");
    assert_eq!(upload.finish().await, "first half, second half");
    assert_eq!(server.on_first_connection(), [true, false]);
}

/// Each request has a stream of its own there.
async fn d28_over_http_2_a_stopped_upload_ends_cleanly_and_its_connection_stays<C: Client>() {
    let mut server = EarlyServer::start().await;
    let upload = Upload::<C>::start(&server, &session().0, Version::HTTP_2);
    assert_eq!(server.next_end().await.unwrap(), "first half,");
    let client = upload.client.clone();
    assert_eq!(upload.finish().await, "first half, second half");
    get_without_token(&client, &server).await;
    assert_eq!(server.on_first_connection(), [true; 3]);
}

on_each_client!(
    #[tokio::test(flavor = "multi_thread")]
    d28_over_http_1_a_stopped_upload_fails_and_its_connection_is_not_used_again,
    d28_over_http_1_a_stopped_upload_is_retried_on_another_connection,
    d28_over_http_2_a_stopped_upload_ends_cleanly_and_its_connection_stays,
);
