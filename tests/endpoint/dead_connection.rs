//! Whether a request had left is what decides between "try later" and "it may have been carried out".

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;
use tower::{Service, service_fn};
use tower_reauth::{
    RefreshContext, Refresher, Session,
    endpoint::{EndpointError, RequestBody},
    oauth2,
    refresh::RefreshReason,
    refresh_fn,
};

use crate::{
    server::{Reply, Server, TOKEN, r1, reply},
    support::{BoxError, clock},
};

type Answer = Result<Response<Full<Bytes>>, BoxError>;

/// A client whose n-th sending is answered by `answer`, and how often it was asked.
fn scripted(
    answer: impl Fn(usize, Request<RequestBody>) -> Answer + Clone + Send + 'static,
) -> (oauth2::Client, Arc<AtomicUsize>) {
    let sendings = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&sendings);
    let transport = service_fn(move |request| {
        std::future::ready(answer(counter.fetch_add(1, Ordering::SeqCst), request))
    });
    (oauth2::Client::try_with_transport("https://id.example.com/", "app", transport).unwrap(), sendings)
}

/// What hyper says of a connection that is gone: to a request, and to who asks whether it is ready.
async fn gone() -> [hyper::Error; 2] {
    let (ours, _theirs) = tokio::io::duplex(64);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(ours)).await.unwrap();
    drop(connection);
    let canceled = sender.send_request(Request::new(Full::default())).await.unwrap_err();
    let closed = sender.ready().await.unwrap_err();
    assert!(canceled.is_canceled() && closed.is_closed());
    [canceled, closed]
}

#[tokio::test]
async fn c19_a_connection_that_is_refused_is_transient_and_tried_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    let attempts = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&attempts);
    let http = Client::builder(TokioExecutor::new()).build_http::<RequestBody>();
    let transport = service_fn(move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        http.request(request)
    });
    let client = oauth2::Client::try_with_transport(url, "app", transport).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient());
    let found = EndpointError::find(&error).unwrap();
    assert_eq!(found.to_string(), "failed to send the token request");
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn c19_after_a_refused_connection_r1_is_presented_after_the_backoff() {
    let server = Server::in_memory([Reply::refused(), reply(200, TOKEN)]);
    let refresher = server.client().refresh_token_grant();
    let session = Session::builder(refresher).refresh_token("R1").clock(clock()).jitter(false).build();
    assert!(session.token().await.unwrap_err().is_transient());
    assert!(session.token().await.unwrap_err().is_transient());
    assert_eq!(server.count(), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!(server.asked()[0].param("refresh_token").unwrap(), "R1");
}

#[tokio::test]
async fn c88_b131_a_dead_connection_is_tried_once_more_with_a_fresh_request() {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let mut dead: Vec<BoxError> = gone().await.map(Into::into).into();
    for kind in [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof] {
        dead.push(io::Error::from(kind).into());
        // Some way down in the chain of sources.
        dead.push(io::Error::other(io::Error::other(io::Error::from(kind))).into());
    }
    for error in dead {
        let shown = format!("{error:?}");
        let (error, seen) = (Arc::new(Mutex::new(Some(error))), Arc::<Mutex<Vec<Bytes>>>::default());
        let bodies = Arc::clone(&seen);
        let (client, sendings) = scripted(move |_, request| {
            if let Some(error) = error.lock().unwrap().take() {
                return Err(error);
            }
            bodies.lock().unwrap().push(request.into_body().into_bytes());
            Ok(Response::new(TOKEN.into()))
        });
        let made = AtomicU32::new(0);
        let client = client.client_assertion(move || {
            Ok::<_, io::Error>(format!("jwt{}", made.fetch_add(1, Ordering::SeqCst)))
        });
        let token = client.refresh_token_grant().refresh(r1()).await;
        assert_eq!(token.unwrap_or_else(|error| panic!("{shown}: {error:?}")).access_token(), "A2");
        assert_eq!(sendings.load(Ordering::SeqCst), 2, "{shown}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].ends_with(b"client_assertion=jwt1"), "{shown}");
    }
}

#[tokio::test]
async fn c88_two_dead_connections_are_transient() {
    let (client, sendings) = scripted(|_, _| Err(io::Error::from(io::ErrorKind::ConnectionReset).into()));
    assert!(client.refresh_token_grant().refresh(r1()).await.unwrap_err().is_transient());
    assert_eq!(sendings.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn c88_what_is_no_dead_connection_is_tried_once() {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Other, PermissionDenied, TimedOut};
    for kind in [ConnectionRefused, HostUnreachable, Other, PermissionDenied, TimedOut] {
        let (client, sendings) = scripted(move |_, _| Err(io::Error::from(kind).into()));
        assert!(client.refresh_token_grant().refresh(r1()).await.unwrap_err().is_transient(), "{kind}");
        assert_eq!(sendings.load(Ordering::SeqCst), 1, "{kind}");
    }
}

#[tokio::test]
async fn c88_what_was_taken_to_be_sent_is_not_sent_again_by_itself() {
    let (client, sendings) = scripted(|_, request| {
        drop(request.into_body().into_bytes());
        Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
    });
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert_eq!(EndpointError::find(&error).unwrap().to_string(), "no response to the token request");
    assert_eq!(sendings.load(Ordering::SeqCst), 1);
    // The second sending may be the one that is lost.
    let (client, sendings) = scripted(|n, request| {
        if n > 0 {
            drop(request.into_body().into_bytes());
        }
        Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
    });
    assert!(client.refresh_token_grant().refresh(r1()).await.unwrap_err().is_outcome_unknown());
    assert_eq!(sendings.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn c19_sent_and_reset_is_repeated_once_at_once_by_the_session() {
    for lost in [1, 2, 3] {
        let server = Server::on_loopback(
            std::iter::repeat_n(reply(200, "").closed(), lost).chain([reply(200, TOKEN)]),
        )
        .await;
        let reasons = Arc::<Mutex<Vec<RefreshReason>>>::default();
        let (grant, seen) = (Arc::new(server.client().refresh_token_grant()), Arc::clone(&reasons));
        let refresher = refresh_fn(move |cx: RefreshContext| {
            seen.lock().unwrap().push(cx.reason());
            let grant = Arc::clone(&grant);
            async move { grant.refresh(cx).await }
        });
        let session = Session::builder(refresher).refresh_token("R1").build();
        let result = session.token().await;
        assert_eq!(*reasons.lock().unwrap(), [RefreshReason::Initial, RefreshReason::Repeated]);
        assert_eq!(server.count(), 2);
        assert!(server.asked().iter().all(|asked| asked.param("refresh_token").unwrap() == "R1"));
        match lost {
            1 => assert_eq!(result.unwrap().secret(), "A2"),
            _ => assert!(result.unwrap_err().is_outcome_unknown()),
        }
    }
}

/// A transport that never becomes ready.
#[derive(Clone)]
struct Broken;

impl Service<Request<RequestBody>> for Broken {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = std::future::Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err("closed"))
    }

    fn call(&mut self, _request: Request<RequestBody>) -> Self::Future {
        unreachable!("it was not ready")
    }
}

#[tokio::test]
async fn p11_a_transport_that_isnt_ready_is_not_called() {
    let client = oauth2::Client::try_with_transport("https://id.example.com/", "app", Broken).unwrap();
    assert!(client.refresh_token_grant().refresh(r1()).await.unwrap_err().is_transient());
}
