//! The fresh path allocates nothing.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::Response;
use tower::{Layer, Service};
use tower_http::auth::AddAuthorizationLayer;
use tower_reauth::{AuthLayer, RefreshError, Session, Token, refresh_fn, replay::NoReplay};

use crate::support::{
    Body, Noop,
    counting::{Allocations, during},
    fresh_session, request, send, token_text,
};

/// What a thousand calls allocate, without their requests.
fn calls<S>(service: &S, cloned: bool) -> Allocations
where
    S: Service<http::Request<Body>, Response = Response<Body>> + Clone,
{
    let mut service = service.clone();
    let mut requests: Vec<_> = (0..1000).map(|_| request()).collect();
    // The first use on a thread may allocate.
    drop(send(&mut service, request()));
    let call_all = || {
        for request in requests.drain(..) {
            let response =
                if cloned { send(&mut service.clone(), request) } else { send(&mut service, request) };
            drop(response);
        }
    };
    during(call_all).1
}

#[test]
fn fresh_path_allocates_no_more_than_add_authorization() {
    let add = AddAuthorizationLayer::bearer(&token_text()).as_sensitive(true).layer(Noop);
    let auth = AuthLayer::from_session(fresh_session()).with_replay(NoReplay).layer(Noop);
    for cloned in [false, true] {
        let (auth, add) = (calls(&auth, cloned), calls(&add, cloned));
        assert!(auth.count <= add.count, "service cloned for each call: {cloned}; {auth:?}, {add:?}");
        assert!(auth.live <= add.live, "service cloned for each call: {cloned}; {auth:?}, {add:?}");
    }
}

#[test]
fn a_replayable_request_costs_only_the_copy_of_its_head() {
    let auth = AuthLayer::from_session(fresh_session());
    let (with, without) = (auth.clone().layer(Noop), auth.with_replay(NoReplay).layer(Noop));
    let mut heads: Vec<_> = (0..1000).map(|_| request().into_parts().0).collect();
    for head in &mut heads {
        // The copy includes the token's header, which may grow the map.
        head.headers.insert("authorization", http::HeaderValue::from_static("Bearer A1"));
    }
    let (copies, copied) = during(|| heads.to_vec());
    drop(copies);
    let (with, without) = (calls(&with, false), calls(&without, false));
    assert!(with.count > without.count, "the head was copied");
    assert!(with.count <= without.count + copied.count, "{with:?}, {without:?}, {copied:?}");
}

#[test]
fn token_and_try_token_allocate_nothing_while_the_token_is_fresh() {
    let session = fresh_session();
    let token = || {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(session.token()).poll(&mut cx) {
            Poll::Ready(Ok(token)) => token,
            other => panic!("a fresh token comes at once: {other:?}"),
        }
    };
    // The first use on a thread may allocate.
    drop(token());
    for what in [&token as &dyn Fn() -> _, &|| session.try_token().expect("it is fresh")] {
        let (generation, allocations) = during(|| (0..1000).fold(0, |_, _| what().generation()));
        assert_eq!(generation, 1);
        assert_eq!(allocations, Allocations::default());
    }
}

/// Further copies are made only for further threads.
#[test]
fn d65_an_idle_session_holds_one_copy_of_its_token() {
    let besides_the_token = |length: usize| {
        let session = || {
            let refresher = refresh_fn(|_| async { Err(RefreshError::transient("not called")) });
            let token = Token::try_new("a".repeat(length)).unwrap();
            let session = Session::builder(refresher).token(token).build();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(pin!(session.token()).poll(&mut cx), Poll::Ready(Ok(_))));
            session
        };
        // The first use on a thread may allocate.
        drop(session());
        let (session, allocations) = during(session);
        drop(session);
        allocations.live - length as i64
    };
    assert_eq!(besides_the_token(40), besides_the_token(1500));
}

#[test]
fn the_allocator_counts() {
    let (boxed, allocations) = during(|| Box::new([0_u8; 100]));
    assert_eq!(allocations, Allocations { count: 1, live: 100 });
    let ((), allocations) = during(|| drop(boxed));
    assert_eq!(allocations, Allocations { count: 0, live: -100 });
}
