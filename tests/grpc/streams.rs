//! Streams: rejections in trailers after the head, and replays of client streams.

use std::time::Duration;

use futures::stream;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tower::Layer;
use tower_reauth::{AuthLayer, Error, Session, grpc, replay::NotReplayed};

use crate::{
    greeter::{Name, greeter_client::GreeterClient},
    setup::{LONG, Setup, join, name},
    support::{endpoint, token},
};

pub(crate) fn cut_after(times: u32) -> Name {
    Name { name: "cut".to_owned(), times }
}

/// The number of greetings before the final status, and that status.
pub(crate) async fn read_to_the_end(
    mut greetings: tonic::Streaming<crate::greeter::Greeting>,
) -> (u32, Status) {
    let mut count = 0;
    loop {
        match greetings.message().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("the server ends it with a status"),
            Err(status) => return (count, status),
        }
    }
}

#[tokio::test]
async fn c103_d40_after_a_rejection_in_trailers_the_next_call_has_a_new_token() {
    for times in [0, 3] {
        let mut setup = Setup::new("A1 R1 600").await;
        setup.state().accept("A1");
        let mut client = setup.client.clone();
        let greetings = client.greet_often(cut_after(times)).await.unwrap().into_inner();
        let (count, status) = read_to_the_end(greetings).await;
        assert_eq!((count, status.code()), (times, Code::Unauthenticated));
        // The token is marked, but the call isn't retried, and the next demand refreshes.
        assert_eq!((setup.state().tokens(), setup.endpoint.call_count()), (vec!["A1".to_owned()], 0));
        let (outcome, ()) = tokio::join!(client.greet(name("Ada")), setup.refresh_with("A2 R2 600"));
        outcome.unwrap();
        assert_eq!(setup.state().tokens(), ["A1", "A2"]);
    }
}

#[tokio::test]
async fn p20_a_rejection_in_trailers_marks_the_token_of_the_calls_own_session() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    setup.state().accept("B1");
    let other = Session::builder(endpoint().0).token(token("B1 S1 600")).jitter(false).build();
    let mut client = GreeterClient::new(AuthLayer::per_request().grpc(setup.channel.clone()));
    for (session, is_marked) in [(&setup.session, [true, false]), (&other, [true, true])] {
        let mut request = tonic::Request::new(cut_after(1));
        request.extensions_mut().insert(session.clone());
        let greetings = client.greet_often(request).await.unwrap().into_inner();
        assert_eq!(read_to_the_end(greetings).await.1.code(), Code::Unauthenticated);
        assert_eq!([&setup.session, &other].map(|session| session.status().is_rejected()), is_marked);
    }
    assert_eq!(setup.state().tokens(), ["A1", "B1"]);
    let status = client.greet_often(cut_after(1)).await.unwrap_err();
    assert!(Error::find(&status).unwrap().is_missing_session(), "{status:?}");
}

#[tokio::test]
async fn d40_a_rejection_in_the_trailers_of_a_retry_marks_the_retrys_token() {
    let mut setup = Setup::new("A1 R1 600").await;
    let mut client = setup.client.clone();
    let (outcome, ()) = tokio::join!(client.greet_often(cut_after(1)), setup.refresh_with("A2 R2 600"));
    assert!(setup.session.status().is_fresh());
    let (count, status) = read_to_the_end(outcome.unwrap().into_inner()).await;
    assert_eq!((count, status.code()), (1, Code::Unauthenticated));
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
    assert!(!setup.session.status().is_fresh());
}

#[tokio::test]
async fn c103_another_status_in_trailers_rejects_no_token() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let mut client = setup.client.clone();
    let greetings = client.greet_often(name("Ada")).await.unwrap().into_inner();
    join(greetings).await.unwrap();
    assert!(setup.session.status().is_fresh());
    let mut failing = client.greet_often(name("fail")).await.unwrap().into_inner();
    assert_eq!(failing.message().await.unwrap_err().code(), Code::PermissionDenied);
    assert!(setup.session.status().is_fresh());
}

#[tokio::test]
async fn p04_a_late_rejection_in_trailers_marks_no_newer_token() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let mut client = setup.client.clone();
    let greetings = client.greet_often(cut_after(1)).await.unwrap().into_inner();
    setup.state().accept("A2");
    setup.session.set_token(token("A2 R2 600")).unwrap();
    let (_, status) = read_to_the_end(greetings).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(setup.session.status().is_fresh());
    client.greet(name("Ada")).await.unwrap();
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
    assert_eq!(setup.endpoint.call_count(), 0);
}

#[tokio::test]
async fn c103_a_client_stream_within_the_limit_is_replayed_whole() {
    let mut setup = Setup::new("A1 R1 600").await;
    setup.state().check_after(2);
    let (sender, receiver) = mpsc::channel(1);
    let mut client = setup.client.clone();
    let call = tokio::spawn(async move { client.greet_all(ReceiverStream::new(receiver)).await });
    for one in ["Ada", "Bob"] {
        sender.send(name(one)).await.unwrap();
    }
    // The server reads two messages and then rejects the token.
    timeout(LONG, setup.refresh_with("A2 R2 600")).await.unwrap();
    for one in ["Cyd", "Dot"] {
        sender.send(name(one)).await.unwrap();
    }
    drop(sender);
    let response = timeout(LONG, call).await.unwrap().unwrap().unwrap();
    assert_eq!(response.into_inner().text, "hello Ada, Bob, Cyd, Dot");
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
}

#[tokio::test]
async fn c103_a_bidirectional_stream_is_replayed_whole() {
    let mut setup = Setup::new("A1 R1 600").await;
    setup.state().check_after(1);
    let (sender, receiver) = mpsc::channel(1);
    let mut client = setup.client.clone();
    let call = tokio::spawn(async move { client.greet_each(ReceiverStream::new(receiver)).await });
    sender.send(name("Ada")).await.unwrap();
    timeout(LONG, setup.refresh_with("A2 R2 600")).await.unwrap();
    sender.send(name("Bob")).await.unwrap();
    drop(sender);
    let greetings = timeout(LONG, call).await.unwrap().unwrap().unwrap().into_inner();
    assert_eq!(join(greetings).await.unwrap(), "hello Ada; hello Bob");
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
}

#[tokio::test]
async fn c103_d31_a_client_stream_above_the_limit_gets_the_servers_status_with_a_mark() {
    let mut setup = Setup::new("A1 R1 600").await;
    setup.state().check_after(1);
    let layer = setup.session.layer().for_grpc().with_buffer_limit(1024);
    let mut client = GreeterClient::new(layer.layer(setup.channel.clone()));
    let large = name(&"x".repeat(4096));
    let call = client.greet_all(stream::iter([large, name("Bob")]));
    let status = timeout(LONG, call).await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "this token isn't accepted"));
    assert_eq!((setup.state().tokens(), setup.endpoint.call_count()), (vec!["A1".to_owned()], 0));
    assert_eq!(grpc::not_replayed(&status), Some(NotReplayed::TooLarge));
    // Its token is marked.
    let next = client.greet_all(stream::iter([name("Ada"), name("Bob")]));
    let (outcome, ()) =
        timeout(LONG, async { tokio::join!(next, setup.refresh_with("A2 R2 600")) }).await.unwrap();
    assert_eq!(outcome.unwrap().into_inner().text, "hello Ada, Bob");
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
}

#[tokio::test]
async fn c103_a_client_stream_that_continues_after_the_rejection_is_stopped() {
    let setup = Setup::with("A1 R1 600", crate::server::CheckedBy::Interceptor, |session| {
        session.wait_timeout(Duration::from_millis(50))
    })
    .await;
    let (sender, receiver) = mpsc::channel(1);
    let status = setup.client.clone().greet_all(ReceiverStream::new(receiver)).await.unwrap_err();
    // Without a newer token it is the server's status.
    assert_eq!(status.message(), "this token isn't accepted");
    timeout(LONG, sender.closed()).await.unwrap();
}
