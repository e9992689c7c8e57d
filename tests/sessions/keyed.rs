//! Layers whose requests have sessions of their own.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header::AUTHORIZATION};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Error, Session, SkipAuth, WaitTimeout, event::EventKind, sessions::Sessions};

use crate::{
    support::{BoxError, get, run_pending_tasks, token},
    world::World,
};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct User(u32);

/// What reached the server, and the tokens that it rejects.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<String>>>,
    rejected: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn client(
        &self,
    ) -> impl Service<Request<()>, Response = Response<()>, Error = Infallible, Future: Send> + Clone + Send + use<>
    {
        let server = self.clone();
        service_fn(move |request: Request<()>| {
            let header = request.headers().get(AUTHORIZATION);
            let token =
                header.map_or("none", |header| header.to_str().unwrap().strip_prefix("Bearer ").unwrap());
            server.seen.lock().unwrap().push(token.to_owned());
            let is_rejected = server.rejected.lock().unwrap().iter().any(|rejected| rejected == token);
            let mut response = Response::new(());
            if is_rejected {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            async { Ok(response) }
        })
    }

    fn reject(&self, token: &str) {
        self.rejected.lock().unwrap().push(token.to_owned());
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn from<T: Clone + Send + Sync + 'static>(extension: T) -> Request<()> {
    let mut request = get();
    request.extensions_mut().insert(extension);
    request
}

fn keyed(sessions: &Sessions<u32>) -> AuthLayer {
    AuthLayer::keyed(sessions.clone(), |head| Some(head.extensions().get::<User>()?.0))
}

fn auth_error(error: &BoxError) -> &Error {
    Error::find(&**error).unwrap()
}

#[tokio::test(start_paused = true)]
async fn p20_each_request_has_its_own_session() {
    let world = World::with_users(1..=2);
    let server = Server::default();
    let sessions = world.saved().build();
    let layer = AuthLayer::per_request();
    assert!(layer.session().is_none());
    let client = layer.layer(server.client());
    for user in [1, 2, 1] {
        client.clone().oneshot(from(sessions.get(&user).await.unwrap())).await.unwrap();
    }
    assert_eq!(server.seen(), ["A1", "A2", "A1"]);
}

#[tokio::test(start_paused = true)]
async fn p20_a_request_without_a_session_or_a_key_is_not_sent() {
    let world = World::with_users(1..=1);
    let server = Server::default();
    let client = AuthLayer::per_request().layer(server.client());
    let error = client.oneshot(get()).await.unwrap_err();
    assert!(auth_error(&error).is_missing_session() && !auth_error(&error).is_retryable(), "{error}");

    let client = keyed(&world.saved().build()).allow_unauthenticated(true).layer(server.client());
    let error = client.clone().oneshot(get()).await.unwrap_err();
    assert!(auth_error(&error).is_missing_session(), "{error}");
    assert!(server.seen().is_empty());

    client.oneshot(from(SkipAuth)).await.unwrap();
    assert_eq!(server.seen(), ["none"]);
}

#[tokio::test(start_paused = true)]
async fn p20_the_session_of_a_key_is_loaded_for_the_first_request() {
    let world = World::with_users(1..=2);
    let server = Server::default();
    let sessions = world.saved().build();
    let client = keyed(&sessions).layer(server.client());
    for user in [1, 2, 2, 1] {
        client.clone().oneshot(from(User(user))).await.unwrap();
    }
    assert_eq!(server.seen(), ["A1", "A2", "A2", "A1"]);
    assert_eq!(world.database.loads(), 2);
    let error = client.oneshot(from(User(3))).await.unwrap_err();
    assert!(auth_error(&error).is_load_failed(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p20_a_rejected_request_is_retried_with_the_same_session() {
    let mut world = World::with_users(1..=2);
    let server = Server::default();
    let sessions = world.saved().build();
    let client = keyed(&sessions).layer(server.client());
    server.reject("A1");
    // The first request waits for its session, the second has it at once.
    let first = tokio::spawn(client.clone().oneshot(from(User(1))));
    world.endpoint.next_call().await.succeed("A1b R1b 600");
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    // The new token has survived its trial.
    world.clock.step(Duration::from_secs(60));
    client.clone().oneshot(from(User(1))).await.unwrap();
    server.reject("A1b");
    let second = tokio::spawn(client.clone().oneshot(from(User(1))));
    world.endpoint.next_call().await.succeed("A1c R1c 600");
    assert_eq!(second.await.unwrap().unwrap().status(), StatusCode::OK);
    client.oneshot(from(User(2))).await.unwrap();
    assert_eq!(server.seen(), ["A1", "A1b", "A1b", "A1b", "A1c", "A2"]);
    assert_eq!(world.endpoint.call_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn p20_a_request_waits_for_its_session_and_then_for_a_token() {
    let mut world = World::with_users([]);
    world.database.save(1, Some(token("A1 R1 0"))).unwrap();
    let server = Server::default();
    let client = keyed(&world.saved().build()).layer(server.client());
    let call = tokio::spawn(client.oneshot(from(User(1))));
    world.endpoint.next_call().await.succeed("A1b R1b 600");
    call.await.unwrap().unwrap();
    assert_eq!(server.seen(), ["A1b"]);
}

#[tokio::test(start_paused = true)]
async fn p20_the_wait_timeout_bounds_the_load() {
    let sessions = Sessions::<u32>::builder(|_| std::future::pending::<Result<Session, BoxError>>()).build();
    let server = Server::default();
    let client = keyed(&sessions).wait_timeout(Duration::from_secs(5)).layer(server.client());
    let start = tokio::time::Instant::now();
    let error = client.clone().oneshot(from(User(1))).await.unwrap_err();
    assert!(auth_error(&error).is_timeout(), "{error}");
    assert_eq!(start.elapsed().as_secs(), 5);
    let mut request = from(User(1));
    request.extensions_mut().insert(WaitTimeout::new(Duration::from_secs(2)));
    let start = tokio::time::Instant::now();
    assert!(auth_error(&client.oneshot(request).await.unwrap_err()).is_timeout());
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn p20_a_request_that_waited_for_its_session_keeps_its_own_header_unless_overridden() {
    let world = World::with_users(1..=1);
    let server = Server::default();
    let sessions = world.saved().build();
    let mut request = from(User(1));
    request.headers_mut().insert(AUTHORIZATION, "Bearer own".parse().unwrap());
    keyed(&sessions).layer(server.client()).oneshot(request.clone()).await.unwrap();
    let client = keyed(&sessions).override_existing(true).layer(server.client());
    client.oneshot(request).await.unwrap();
    assert_eq!(server.seen(), ["own", "A1"]);
}

#[tokio::test(start_paused = true)]
async fn p20_a_request_of_a_signed_out_user_is_sent_without_a_token_only_if_that_is_allowed() {
    let world = World::with_users([]);
    let builder = world.session_builder();
    let sessions = Sessions::<u32>::builder(move |_| {
        let session = builder.clone().signed_out().build();
        async { Ok::<_, BoxError>(session) }
    })
    .build();
    let server = Server::default();
    let client = keyed(&sessions).layer(server.client());
    assert!(auth_error(&client.oneshot(from(User(1))).await.unwrap_err()).is_signed_out());
    sessions.remove(&1);
    let client = keyed(&sessions).allow_unauthenticated(true).layer(server.client());
    client.oneshot(from(User(1))).await.unwrap();
    assert_eq!(server.seen(), ["none"]);
}

#[tokio::test(start_paused = true)]
async fn p20_a_request_keeps_its_session_when_its_key_is_removed() {
    let mut world = World::with_users(1..=1);
    let server = Server::default();
    let sessions = world.saved().build();
    let client = keyed(&sessions).layer(server.client());
    server.reject("A1");
    let call = tokio::spawn(client.clone().oneshot(from(User(1))));
    let refresh = world.endpoint.next_call().await;
    sessions.remove(&1);
    refresh.succeed("A1b R1b 600");
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    client.oneshot(from(User(1))).await.unwrap();
    assert_eq!(server.seen(), ["A1", "A1b", "A1b"]);
    assert_eq!(world.database.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn p20_one_listener_sees_the_events_of_all_sessions_with_their_keys_and_names() {
    let mut world = World::with_users(1..=2).configure(|builder| builder.name("a user"));
    let events = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&events);
    let sessions = world
        .saved()
        .on_event(move |key, event| {
            if let EventKind::Refreshed { .. } = event.kind {
                recorded.lock().unwrap().push((*key, event.session.clone().unwrap().to_string()));
            }
        })
        .build();
    for user in [2, 1] {
        let session = sessions.get(&user).await.unwrap();
        assert_eq!(session.name(), Some("a user"));
        assert_eq!(session.status().name(), Some("a user"));
        world.refresh(&session, &format!("A{user}b R{user}b 600")).await;
    }
    run_pending_tasks().await;
    let expected = [(2, "a user".to_owned()), (1, "a user".to_owned())];
    assert_eq!(*events.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn p20_a_key_may_be_in_any_part_of_a_requests_head() {
    let world = World::with_users(1..=4);
    let server = Server::default();
    let layer = AuthLayer::keyed(world.saved().build(), |head| {
        let in_header = head.headers().get("x-user").and_then(|user| user.to_str().ok());
        let in_path = head.uri().path().strip_prefix("/users/");
        let in_method = (head.method() == Method::DELETE).then_some("3");
        let in_extension = head.extensions().get::<User>().map(|user| user.0);
        in_extension.or_else(|| in_header.or(in_path).or(in_method)?.parse().ok())
    });
    let client = layer.layer(server.client());
    let mut requests = [get(), get(), get(), from(User(4))];
    requests[0].headers_mut().insert("x-user", HeaderValue::from_static("1"));
    *requests[1].uri_mut() = Uri::from_static("https://api.example.com/users/2");
    *requests[2].method_mut() = Method::DELETE;
    for request in requests {
        client.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(server.seen(), ["A1", "A2", "A3", "A4"]);
}
