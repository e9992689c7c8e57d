//! Whether a token request was sent decides between "try later" and "the outcome is unknown".

use std::{
    future::pending,
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
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use tower::{Service, ServiceBuilder, service_fn};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Session, Token,
    endpoint::{EndpointError, RequestBody},
    json::JsonEndpoint,
    oauth2::Client,
    refresh::RefreshReason,
    refresh_fn,
};

use crate::{
    canned::{CannedResponse, URL, r1, respond},
    support::{BoxError, clock},
    token_endpoint::{self, Reply, Server, TOKEN, reply},
};

/// What a transport with its own tasks has sent.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Bytes>>>);

impl Wire {
    /// Sends after a delay, also if the future of the call was dropped.
    fn late(
        self,
        after: Duration,
    ) -> impl tower::Service<
        Request<RequestBody>,
        Response = CannedResponse,
        Error = io::Error,
        Future = impl Future<Output = Result<CannedResponse, io::Error>> + Send,
    > + Clone
    + Send
    + 'static {
        let wire = self;
        service_fn(move |request: Request<RequestBody>| {
            let wire = wire.clone();
            let task = tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
                wire.0.lock().unwrap().push(body);
                pending().await
            });
            async move { task.await.map_err(io::Error::other)? }
        })
    }

    fn sent(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn p18_a_request_reported_as_not_sent_is_not_sent_later() {
    let wire = Wire::default();
    let client = Client::try_with_transport(URL, "web", wire.clone().late(Duration::from_secs(11))).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn p18_a_request_cancelled_by_a_timeout_in_the_transport_is_not_sent_later() {
    let wire = Wire::default();
    let transport = ServiceBuilder::new()
        .timeout(Duration::from_secs(2))
        .service(wire.clone().late(Duration::from_secs(3)));
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn p02_the_request_of_a_dropped_refresh_is_not_sent_later() {
    let wire = Wire::default();
    let client = Client::try_with_transport(URL, "web", wire.clone().late(Duration::from_secs(3))).unwrap();
    let refresher = client.refresh_token_grant();
    let refresh = tokio::time::timeout(Duration::from_secs(1), refresher.refresh(r1()));
    assert!(refresh.await.is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn p02_a_retried_request_is_not_sent_twice() {
    let wire = Wire::default();
    let calls = Arc::<AtomicUsize>::default();
    let transport = {
        let (wire, calls) = (wire.clone(), Arc::clone(&calls));
        service_fn(move |request: Request<RequestBody>| {
            let (wire, first) = (wire.clone(), calls.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                if first {
                    // It reports a dead connection, but goes on to use another one.
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
                        wire.0.lock().unwrap().push(body);
                        Ok::<_, io::Error>(())
                    });
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe));
                }
                wire.0.lock().unwrap().push(request.into_body().into_bytes());
                Ok(respond(200, r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R2"}"#))
            }
        })
    };
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    client.refresh_token_grant().refresh(r1()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 1);
}

/// A server that records the refresh tokens that reach it.
struct Noting {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    /// The number of open connections.
    open: watch::Receiver<usize>,
    http2: bool,
}

/// When a connection ends.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    WithTheClient,
    /// After its first response, without an announcement.
    Early,
}

impl Noting {
    async fn start(http2: bool, ends: Ends) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&seen);
        let (count, open) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, count) = (Arc::clone(&noted), count.clone());
                count.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    serve(TokioIo::new(stream), noted, http2, ends).await;
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, seen, open, http2 }
    }

    fn client(&self) -> Client {
        Client::try_with_transport(&self.url, "web", self.transport()).unwrap()
    }

    fn transport(&self) -> legacy::Client<HttpConnector, RequestBody> {
        let mut http = legacy::Client::builder(TokioExecutor::new());
        http.http2_only(self.http2).build_http()
    }

    /// All that reached it, once no connection is left. Connections are accepted in order, so one more is the
    /// last.
    async fn all(mut self) -> Vec<String> {
        let last = "the last".to_owned();
        let _ = refresh(&self.client().refresh_token_grant(), &last).await;
        assert!(self.seen.lock().unwrap().contains(&last));
        self.open.wait_for(|open| *open == 0).await.unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(stream: TokioIo<TcpStream>, noted: Arc<Mutex<Vec<String>>>, http2: bool, ends: Ends) {
    let responded = Arc::<Notify>::default();
    let notify = Arc::clone(&responded);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (noted, notify) = (Arc::clone(&noted), Arc::clone(&notify));
        async move {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = request.into_body().collect().await?.to_bytes();
            let pairs = form_urlencoded::parse(&body).chain(form_urlencoded::parse(query.as_bytes()));
            let tokens =
                pairs.filter(|(name, _)| name == "refresh_token").map(|(_, token)| token.into_owned());
            noted.lock().unwrap().extend(tokens);
            notify.notify_one();
            let body = r#"{"access_token":"A2","token_type":"Bearer"}"#;
            Ok::<_, hyper::Error>(respond(200, body))
        }
    });
    let end = async {
        match ends {
            Ends::WithTheClient => pending().await,
            Ends::Early => responded.notified().await,
        }
    };
    if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        tokio::select! {
            _ = &mut connection => return,
            () = end => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let mut connection =
            std::pin::pin!(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
        tokio::select! {
            _ = &mut connection => return,
            () = end => tokio::task::yield_now().await,
        }
        let _ = tokio::time::timeout(Duration::from_micros(1), &mut connection).await;
    }
}

async fn refresh(grant: &impl Refresher, token: &str) -> Result<Token, RefreshError> {
    grant.refresh(RefreshContext::builder().refresh_token(token).build()).await
}

/// Those of 100 requests that reached the server, but are reported as not sent. The timeouts are about as long as
/// it takes to send a request.
async fn reported_wrongly<R: Refresher>(server: Noting, with_timeout: impl Fn(Duration) -> R) -> Vec<String> {
    let mut unsent = Vec::new();
    for round in 0..100 {
        let refresher = with_timeout(Duration::from_micros(20 * (round % 40)));
        let token = format!("R{round}");
        if refresh(&refresher, &token).await.is_err_and(|error| error.is_transient()) {
            unsent.push(token);
        }
    }
    drop(with_timeout);
    let seen = server.all().await;
    unsent.retain(|token| seen.contains(token));
    unsent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p18_a_request_that_reached_the_server_is_never_reported_as_not_sent() {
    for http2 in [false, true] {
        let server = Noting::start(http2, Ends::WithTheClient).await;
        let client = server.client();
        let wrong =
            reported_wrongly(server, move |limit| client.clone().timeout(limit).refresh_token_grant()).await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn d87_p18_a_get_that_reached_the_server_is_never_reported_as_not_sent() {
    for http2 in [false, true] {
        let server = Noting::start(http2, Ends::WithTheClient).await;
        let endpoint = JsonEndpoint::try_with_transport(&server.url, server.transport()).unwrap().get();
        let wrong = reported_wrongly(server, move |limit| endpoint.clone().timeout(limit)).await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p02_dying_connections_present_no_refresh_token_twice() {
    for http2 in [false, true] {
        let server = Noting::start(http2, Ends::Early).await;
        let grant = server.client().refresh_token_grant();
        let mut results = Vec::new();
        for round in 0..100 {
            let token = format!("R{round}");
            let result = refresh(&grant, &token).await;
            results.push((token, result.map(drop)));
        }
        drop(grant);
        let seen = server.all().await;
        for (token, result) in results {
            let times = seen.iter().filter(|seen| **seen == token).count();
            assert!(times <= 1, "{token} {times} {result:?}");
            assert!(times == 0 || !result.is_err_and(|error| error.is_transient()), "{token}");
        }
    }
}

/// A client whose n-th attempt gets `response(n)`, and the number of attempts.
fn scripted(
    response: impl Fn(usize, Request<RequestBody>) -> Result<CannedResponse, BoxError> + Clone + Send + 'static,
) -> (Client, Arc<AtomicUsize>) {
    let attempts = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&attempts);
    let transport = service_fn(move |request| {
        std::future::ready(response(counter.fetch_add(1, Ordering::SeqCst), request))
    });
    (Client::try_with_transport("https://id.example.com/", "app", transport).unwrap(), attempts)
}

/// hyper's errors for a closed connection: from a request, and from `ready`.
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
async fn c19_a_refused_connection_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    let attempts = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&attempts);
    let http = legacy::Client::builder(TokioExecutor::new()).build_http::<RequestBody>();
    let transport = service_fn(move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        http.request(request)
    });
    let client = Client::try_with_transport(&url, "app", transport.clone()).unwrap();
    let get = JsonEndpoint::try_with_transport(&url, transport).unwrap().get();
    for error in [
        client.refresh_token_grant().refresh(token_endpoint::r1()).await.unwrap_err(),
        get.refresh(token_endpoint::r1()).await.unwrap_err(),
    ] {
        assert!(error.is_transient());
        let found = EndpointError::find(&error).unwrap();
        assert_eq!(found.to_string(), "failed to send the token request");
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 2 * 3);
}

#[tokio::test(start_paused = true)]
async fn c19_after_a_refused_connection_r1_is_presented_after_the_backoff() {
    let server = Server::in_memory([Reply::refused(), Reply::refused(), Reply::refused(), reply(200, TOKEN)]);
    let refresher = server.client().refresh_token_grant();
    let session = Session::builder(refresher).refresh_token("R1").clock(clock()).jitter(false).build();
    assert!(session.token().await.unwrap_err().is_transient());
    assert!(session.token().await.unwrap_err().is_transient());
    assert_eq!(server.count(), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!(server.requests()[0].param("refresh_token").unwrap(), "R1");
}

#[tokio::test]
async fn c88_b131_a_dead_connection_is_retried_once_with_a_fresh_request() {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let mut dead: Vec<BoxError> = gone().await.map(Into::into).into();
    for kind in [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof] {
        dead.push(io::Error::from(kind).into());
        // Deeper in the chain of sources.
        dead.push(io::Error::other(io::Error::other(io::Error::from(kind))).into());
    }
    for error in dead {
        let shown = format!("{error:?}");
        let (error, seen) = (Arc::new(Mutex::new(Some(error))), Arc::<Mutex<Vec<Bytes>>>::default());
        let bodies = Arc::clone(&seen);
        let (client, attempts) = scripted(move |_, request| {
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
        let token = client.refresh_token_grant().refresh(token_endpoint::r1()).await;
        assert_eq!(token.unwrap_or_else(|error| panic!("{shown}: {error:?}")).access_token(), "A2");
        assert_eq!(attempts.load(Ordering::SeqCst), 2, "{shown}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].ends_with(b"client_assertion=jwt1"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn c88_two_dead_connections_are_transient() {
    let (client, attempts) = scripted(|_, _| Err(io::Error::from(io::ErrorKind::ConnectionReset).into()));
    assert!(client.refresh_token_grant().refresh(token_endpoint::r1()).await.unwrap_err().is_transient());
    // Twice at once for each of the two retries of a transient failure, too.
    assert_eq!(attempts.load(Ordering::SeqCst), 3 * 2);
}

#[tokio::test(start_paused = true)]
async fn c88_other_connection_errors_are_not_retried_at_once() {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Other, PermissionDenied, TimedOut};
    for kind in [ConnectionRefused, HostUnreachable, Other, PermissionDenied, TimedOut] {
        let (client, attempts) = scripted(move |_, _| Err(io::Error::from(kind).into()));
        assert!(
            client.refresh_token_grant().refresh(token_endpoint::r1()).await.unwrap_err().is_transient(),
            "{kind}"
        );
        assert_eq!(attempts.load(Ordering::SeqCst), 3, "{kind}");
    }
}

#[tokio::test]
async fn c88_a_request_whose_body_was_taken_is_not_retried_by_the_transport() {
    let (client, attempts) = scripted(|_, request| {
        drop(request.into_body().into_bytes());
        Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
    });
    let error = client.refresh_token_grant().refresh(token_endpoint::r1()).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert_eq!(EndpointError::find(&error).unwrap().to_string(), "no response to the token request");
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    // The second attempt may be lost, too.
    let (client, attempts) = scripted(|n, request| {
        if n > 0 {
            drop(request.into_body().into_bytes());
        }
        Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
    });
    assert!(
        client.refresh_token_grant().refresh(token_endpoint::r1()).await.unwrap_err().is_outcome_unknown()
    );
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
}

/// Nothing reads the empty body of a GET.
#[tokio::test]
async fn d87_a_get_without_a_response_is_repeated_once_by_the_session() {
    for lost in [1, 2, 3] {
        let script = std::iter::repeat_n(reply(200, "").closed(), lost).chain([reply(200, TOKEN)]);
        let server = Server::on_loopback(script).await;
        let endpoint = server.json().get();
        let session = Session::builder(endpoint).refresh_token("R1").build();
        let result = session.token().await;
        assert_eq!((server.count(), result.is_ok()), (2, lost == 1), "{result:?}");
    }
}

#[tokio::test]
async fn c19_a_reset_after_sending_is_repeated_once_by_the_session() {
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
        assert!(server.requests().iter().all(|request| request.param("refresh_token").unwrap() == "R1"));
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
async fn p11_a_transport_that_is_not_ready_is_not_called() {
    let client = Client::try_with_transport("https://id.example.com/", "app", Broken).unwrap();
    assert!(client.refresh_token_grant().refresh(token_endpoint::r1()).await.unwrap_err().is_transient());
}
