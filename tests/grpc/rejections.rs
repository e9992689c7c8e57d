//! What counts as a refused token, and what the second sending carries.

use tokio::time::timeout;
use tonic::{Code, Request, Status, metadata::MetadataValue};
use tower::Layer;

use crate::{
    greeter::greeter_client::GreeterClient,
    server::Judge,
    setup::{KINDS, Kind, LONG, Stage, layer, name},
};

#[tokio::test]
async fn c103_a_unary_call_refused_before_its_answer_is_sent_again_once() {
    let mut stage = Stage::set("A1 R1 600").await;
    let call = Kind::Unary.call(stage.client.clone());
    // The server accepts A2 as little as A1.
    let answer = async { stage.endpoint.call().await.give("A2 R2 600") };
    let (outcome, ()) = timeout(LONG, async { tokio::join!(call, answer) }).await.unwrap();
    let status = outcome.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "this token isn't accepted"));
    assert_eq!(stage.books().tokens(), ["A1", "A2"]);
    assert_eq!(stage.endpoint.asked(), 1);
}

#[tokio::test]
async fn c103_a_proxys_401_refuses_the_token_of_each_kind_of_call() {
    for kind in KINDS {
        let mut stage = Stage::set_with("A1 R1 600", Judge::Proxy, |session| session).await;
        let call = kind.call(stage.client.clone());
        let (outcome, ()) =
            timeout(LONG, async { tokio::join!(call, stage.give("A2 R2 600")) }).await.unwrap();
        outcome.unwrap();
        assert_eq!(stage.books().tokens(), ["A1", "A2"], "{kind:?}");
    }
}

#[tokio::test]
async fn c103_another_status_refuses_no_token() {
    let stage = Stage::set("A1 R1 600").await;
    stage.books().accept("A1");
    let mut client = GreeterClient::with_interceptor(
        layer(&stage.session).layer(stage.channel.clone()),
        |_: Request<()>| Err::<Request<()>, _>(Status::unauthenticated("the client's own interceptor")),
    );
    assert_eq!(client.greet(name("Ada")).await.unwrap_err().code(), Code::Unauthenticated);
    let mut client = stage.client.clone();
    let unknown = client.greet_often(name("fail")).await.unwrap().into_inner().message().await;
    assert_eq!(unknown.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(client.greet(name("fail")).await.unwrap_err().code(), Code::PermissionDenied);
    assert!(stage.session.status().is_fresh());
    Kind::Unary.call(client).await.unwrap();
    assert_eq!(stage.books().tokens(), ["A1"; 3]);
    assert_eq!(stage.endpoint.asked(), 0);
}

#[tokio::test]
async fn p16_a_users_metadata_is_kept_on_the_second_sending() {
    let mut stage = Stage::set("A1 R1 600").await;
    let interceptor = |mut request: Request<()>| {
        let metadata = request.metadata_mut();
        metadata.insert("x-tenant", "blue".parse().unwrap());
        metadata.append("x-tenant", "green".parse().unwrap());
        metadata.insert_bin("x-trace-bin", MetadataValue::from_bytes(&[0, 159, 146, 150]));
        Ok::<_, Status>(request)
    };
    let service = layer(&stage.session).layer(stage.channel.clone());
    let mut client = GreeterClient::with_interceptor(service, interceptor);
    let (outcome, ()) = tokio::join!(client.greet(name("Ada")), stage.give("A2 R2 600"));
    outcome.unwrap();
    let calls = stage.books().calls();
    let all_but_the_token = |at: usize| {
        let mut headers = calls[at].metadata.clone().into_headers();
        headers.remove("authorization");
        headers
    };
    assert_eq!(stage.books().tokens(), ["A1", "A2"]);
    assert_eq!(all_but_the_token(0), all_but_the_token(1));
    let tenants: Vec<_> = calls[1].metadata.get_all("x-tenant").iter().collect();
    assert_eq!(tenants, ["blue", "green"]);
    let trace = calls[1].metadata.get_bin("x-trace-bin").unwrap().to_bytes().unwrap();
    assert_eq!(trace[..], [0, 159, 146, 150]);
}

#[tokio::test]
async fn p16_a_users_own_token_is_left_alone_and_its_refusal_is_the_users() {
    let stage = Stage::set("A1 R1 600").await;
    stage.books().accept("A1");
    let mut request = Request::new(name("Ada"));
    request.metadata_mut().insert("authorization", "Bearer mine".parse().unwrap());
    let status = stage.client.clone().greet(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    Kind::Unary.call(stage.client.clone()).await.unwrap();
    assert_eq!(stage.books().tokens(), ["mine", "A1"]);
    assert_eq!(stage.endpoint.asked(), 0);
}
