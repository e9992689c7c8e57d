//! The crate's errors as a caller of a generated client sees them.

use std::{error::Error as StdError, fmt};

use tokio::time::timeout;
use tonic::{Code, Status};
use tower_reauth::{AuthLayer, Error, RefreshContext, RefreshError, Session, grpc, refresh_fn};

use crate::{
    greeter::greeter_client::GreeterClient,
    setup::{KINDS, LONG, Setup, name},
    support::sources,
};

/// A refresher's own error.
#[derive(Debug)]
struct TokenServerSaid(&'static str);

impl fmt::Display for TokenServerSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for TokenServerSaid {}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    sources(error).find_map(|error| error.downcast_ref())
}

/// Each kind of call, while the refresh fails.
async fn refresh_fails(make: fn(TokenServerSaid) -> RefreshError, code: Code, is: fn(&Error) -> bool) {
    let mut setup = Setup::new("A1 R1 0").await;
    let calls = futures::future::join_all(KINDS.map(|kind| kind.call(setup.client.clone())));
    let session = setup.session.clone();
    let response = async {
        let call = setup.endpoint.next_call().await;
        while session.status().waiters() < KINDS.len() {
            tokio::task::yield_now().await;
        }
        call.fail(make(TokenServerSaid("no")));
    };
    let (outcomes, ()) = timeout(LONG, async { tokio::join!(calls, response) }).await.unwrap();
    for outcome in outcomes {
        let status = outcome.unwrap_err();
        assert_eq!(status.code(), code);
        let ours = Error::find(&status).expect("our error is in the chain");
        assert!(is(ours), "{ours:?}");
        assert_eq!(status.message(), ours.to_string());
        assert_eq!(find::<TokenServerSaid>(&status).expect("and the refresher's").0, "no");
        assert!(find::<RefreshError>(&status).is_some() || find::<TokenServerSaid>(ours).is_some());
    }
    assert_eq!((setup.endpoint.call_count(), setup.state().calls().len()), (1, 0));
}

#[tokio::test]
async fn b89_a_transient_failure_is_unavailable() {
    refresh_fails(RefreshError::transient, Code::Unavailable, Error::is_transient).await;
}

#[tokio::test]
async fn b89_an_ended_grant_is_unauthenticated() {
    refresh_fails(RefreshError::grant_ended, Code::Unauthenticated, Error::is_grant_ended).await;
}

#[tokio::test]
async fn b89_a_misconfiguration_is_unauthenticated() {
    refresh_fails(RefreshError::misconfigured, Code::Unauthenticated, Error::is_misconfigured).await;
}

#[tokio::test]
async fn b89_signed_out_is_unauthenticated() {
    let setup = Setup::new("A1 R1 600").await;
    let _ = setup.session.sign_out();
    let status = setup.client.clone().greet(name("Ada")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(Error::find(&status).unwrap().is_signed_out());
    assert_eq!((setup.endpoint.call_count(), setup.state().calls().len()), (0, 0));
}

#[tokio::test]
async fn b89_an_unreachable_server_is_the_channels_own_error() {
    let setup = Setup::new("A1 R1 600").await;
    // Nobody listens on that port any more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect_lazy();
    let mut client = GreeterClient::new(setup.session.layer().grpc(channel));
    let status = client.greet(name("Ada")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Error::find(&status).is_none());
}

#[tokio::test]
async fn p15_a_named_origin_in_cleartext_is_an_error_before_anything_is_sent() {
    let setup = Setup::new("A1 R1 600").await;
    let service = setup.session.layer().grpc(setup.channel.clone());
    let mut client = GreeterClient::with_origin(service, "http://api.example.com".parse().unwrap());
    let status = client.greet(name("Ada")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(Error::find(&status).unwrap().is_cleartext());
    assert_eq!(setup.state().calls().len(), 0);
}

/// The compiler can't name the remedy for a generated client's methods, so a search for its message must find it.
#[test]
fn d42_the_compilers_message_is_in_the_docs_of_the_remedy() {
    let docs = include_str!("../../src/grpc/layer.rs").split("pub fn for_grpc").next().unwrap();
    assert!(docs.contains("the following trait bounds were not satisfied: `tonic::body::Body: Clone`"));
}

/// Each error has its own status, as a `Status` can't be shared.
#[tokio::test]
async fn b89_an_error_of_the_layer_has_a_status_as_its_source() {
    let refresher =
        refresh_fn(|_: RefreshContext| async { Err(RefreshError::transient(TokenServerSaid("busy"))) });
    let session = Session::builder(refresher).build();
    let setup = Setup::new("A1 R1 600").await;
    let mut service: grpc::GrpcAuth<_> = AuthLayer::from_session(session).grpc(setup.channel.clone());
    for _ in 0..2 {
        let request = http::Request::new(tonic::body::Body::empty());
        let ready = tower::ServiceExt::<http::Request<tonic::body::Body>>::ready(&mut service).await.unwrap();
        let error = tower::Service::call(ready, request).await.unwrap_err();
        let ours = error.downcast_ref::<Error>().unwrap();
        let status = ours.source().unwrap().downcast_ref::<Status>().unwrap();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, ours.to_string().as_str()));
        assert_eq!(find::<TokenServerSaid>(status).unwrap().0, "busy");
    }
}
