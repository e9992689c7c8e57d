//! What counts as a rejection, and what a retry carries.

use tokio::time::timeout;
use tonic::{Code, Request, Status, metadata::MetadataValue};
use tower::Layer;
use tower_reauth::{
    grpc,
    rejection::{RejectionRule, ResponseHead, Verdict},
    replay::NotReplayed,
};

use crate::{
    greeter::greeter_client::GreeterClient,
    server::CheckedBy,
    setup::{KINDS, Kind, LONG, Setup, name},
};

#[tokio::test]
async fn c103_a_unary_call_rejected_before_its_response_is_retried_once() {
    let mut setup = Setup::new("A1 R1 600").await;
    let call = Kind::Unary.call(setup.client.clone());
    // The server accepts neither A1 nor A2.
    let response = async { setup.endpoint.next_call().await.succeed("A2 R2 600") };
    let (outcome, ()) = timeout(LONG, async { tokio::join!(call, response) }).await.unwrap();
    let status = outcome.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "this token isn't accepted"));
    assert_eq!(grpc::not_replayed(&status), None);
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
    assert_eq!(setup.endpoint.call_count(), 1);
}

#[tokio::test]
async fn d31_the_status_of_a_call_that_was_not_retried_says_so() {
    for checked_by in [CheckedBy::Interceptor, CheckedBy::Proxy] {
        let setup = Setup::with("A1 R1 600", checked_by, |session| session).await;
        let layer = setup.session.layer().for_grpc().with_buffer_limit(0);
        let mut client = GreeterClient::new(layer.layer(setup.channel.clone()));
        let status = client.greet(name("Ada")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(grpc::not_replayed(&status), Some(NotReplayed::TooLarge));
        assert_eq!((setup.state().tokens().len(), setup.endpoint.call_count()), (1, 0));
    }
}

#[tokio::test]
async fn c103_a_401_of_a_proxy_rejects_the_token_of_each_kind_of_call() {
    for kind in KINDS {
        let mut setup = Setup::with("A1 R1 600", CheckedBy::Proxy, |session| session).await;
        let call = kind.call(setup.client.clone());
        let (outcome, ()) =
            timeout(LONG, async { tokio::join!(call, setup.refresh_with("A2 R2 600")) }).await.unwrap();
        outcome.unwrap();
        assert_eq!(setup.state().tokens(), ["A1", "A2"], "{kind:?}");
    }
}

#[tokio::test]
async fn c103_another_status_rejects_no_token() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let mut client = GreeterClient::with_interceptor(
        setup.session.layer().grpc(setup.channel.clone()),
        |_: Request<()>| Err::<Request<()>, _>(Status::unauthenticated("the client's own interceptor")),
    );
    assert_eq!(client.greet(name("Ada")).await.unwrap_err().code(), Code::Unauthenticated);
    let mut client = setup.client.clone();
    let unknown = client.greet_often(name("fail")).await.unwrap().into_inner().message().await;
    assert_eq!(unknown.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(client.greet(name("fail")).await.unwrap_err().code(), Code::PermissionDenied);
    assert!(setup.session.status().is_fresh());
    Kind::Unary.call(client).await.unwrap();
    assert_eq!(setup.state().tokens(), ["A1"; 3]);
    assert_eq!(setup.endpoint.call_count(), 0);
}

#[test]
fn d46_step_up_in_the_metadata_rejects_no_token() {
    for (challenge, is_accepted) in [
        (r#"Bearer error="insufficient_scope""#, true),
        (r#"Bearer error="insufficient_user_authentication""#, true),
        (r#"Bearer error="invalid_token""#, false),
    ] {
        let response =
            http::Response::builder().header("grpc-status", "16").header("www-authenticate", challenge);
        let response = response.body(()).unwrap();
        let verdict = grpc::StatusUnauthenticated.judge(&ResponseHead::new(&response));
        assert_eq!(verdict == Verdict::Accept, is_accepted, "{challenge}");
    }
}

#[tokio::test]
async fn p16_a_retry_keeps_the_users_metadata() {
    let mut setup = Setup::new("A1 R1 600").await;
    let interceptor = |mut request: Request<()>| {
        let metadata = request.metadata_mut();
        metadata.insert("x-tenant", "blue".parse().unwrap());
        metadata.append("x-tenant", "green".parse().unwrap());
        metadata.insert_bin("x-trace-bin", MetadataValue::from_bytes(&[0, 159, 146, 150]));
        Ok::<_, Status>(request)
    };
    let service = setup.session.layer().grpc(setup.channel.clone());
    let mut client = GreeterClient::with_interceptor(service, interceptor);
    let (outcome, ()) = tokio::join!(client.greet(name("Ada")), setup.refresh_with("A2 R2 600"));
    outcome.unwrap();
    let calls = setup.state().calls();
    let all_but_the_token = |at: usize| {
        let mut headers = calls[at].metadata.clone().into_headers();
        headers.remove("authorization");
        headers
    };
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
    assert_eq!(all_but_the_token(0), all_but_the_token(1));
    let tenants: Vec<_> = calls[1].metadata.get_all("x-tenant").iter().collect();
    assert_eq!(tenants, ["blue", "green"]);
    let trace = calls[1].metadata.get_bin("x-trace-bin").unwrap().to_bytes().unwrap();
    assert_eq!(trace[..], [0, 159, 146, 150]);
}

#[tokio::test]
async fn p16_a_users_own_token_is_kept_and_its_rejection_returned() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let mut request = Request::new(name("Ada"));
    request.metadata_mut().insert("authorization", "Bearer mine".parse().unwrap());
    let status = setup.client.clone().greet(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    Kind::Unary.call(setup.client.clone()).await.unwrap();
    assert_eq!(setup.state().tokens(), ["mine", "A1"]);
    assert_eq!(setup.endpoint.call_count(), 0);
}
