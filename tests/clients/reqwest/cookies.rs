//! The cookie store of a client.

use http::{StatusCode, header};

use crate::{
    loopback::{Reply, Server, if_a2},
    session::session,
};

use super::{ReqwestClient, builder};

/// The server sets a cookie with its rejection, and requires it.
async fn p16_a_retry_has_the_cookies_of_the_rejection<C: ReqwestClient>() {
    let server = Server::start(|request| async move {
        let mut reply = if_a2(&request, Reply::default());
        match request.headers.get(header::COOKIE) {
            None => drop(reply.headers_mut().insert(header::SET_COOKIE, "visit=1".parse().unwrap())),
            Some(cookie) => assert_eq!(cookie, "visit=1"),
        }
        reply
    })
    .await;
    let client = builder().cookie_store(true).build().unwrap();
    let auth = C::of(session().0.layer(), &client);
    let response = auth.send_builder(client.get(server.url("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let received = server.received();
    let cookies = received.iter().map(|request| request.headers.get_all(header::COOKIE).iter().count());
    assert_eq!(Vec::from_iter(cookies), [0, 1]);
}

on_each_reqwest_client!(
    #[tokio::test(flavor = "multi_thread")]
    p16_a_retry_has_the_cookies_of_the_rejection,
);
