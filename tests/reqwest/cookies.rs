//! The cookie store of a client.

use http::{StatusCode, header};

use crate::{
    sender::Kind,
    server::{Reply, Server, builder, if_a2, session},
};

/// The server sets a cookie with its rejection, and requires it.
#[tokio::test]
async fn p16_a_retry_has_the_cookies_of_the_rejection() {
    for kind in Kind::ALL {
        let server = Server::start(|request| async move {
            let visits = request.headers.get_all(header::COOKIE).iter().count();
            let mut reply = if_a2(&request, Reply::default());
            match visits {
                0 => drop(reply.headers_mut().insert(header::SET_COOKIE, "visit=1".parse().unwrap())),
                _ => assert_eq!(request.headers[header::COOKIE], "visit=1"),
            }
            reply
        })
        .await;
        let client = builder().cookie_store(true).build().unwrap();
        let sender = kind.sender(session().0.layer(), &client);
        let response = sender.send(client.get(server.url("/"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{kind:?}");
        let cookies: Vec<_> = server
            .received()
            .iter()
            .map(|request| request.headers.get_all(header::COOKIE).iter().count())
            .collect();
        assert_eq!(cookies, [0, 1], "{kind:?}");
    }
}
