//! Peak memory while a token response is read.

use std::{cell::Cell, collections::VecDeque, convert::Infallible};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tower::service_fn;
use tower_reauth::{
    RefreshContext, Refresher,
    endpoint::{Lifetime, RequestBody},
    oauth2,
};

use crate::support::counting::most_during;

/// The default limit of a response.
const LIMIT: usize = 256 * 1024;

/// What an exchange needs besides the response: a request, its form, a timer, boxes.
const OVERHEAD: i64 = 64 * 1024;

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(body).boxed_unsync()
}

/// In chunks, without a content length.
fn pieces(body: &Bytes, size: usize) -> UnsyncBoxBody<Bytes, Infallible> {
    let pieces: VecDeque<_> =
        (0..body.len()).step_by(size).map(|at| body.slice(at..body.len().min(at + size))).collect();
    StreamBody::new(futures::stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(piece)))))
        .boxed_unsync()
}

/// The peak of bytes in use while `body` is read, without the body itself, and whether it was a token.
fn cost(
    status: u16,
    body: UnsyncBoxBody<Bytes, Infallible>,
    set: impl FnOnce(oauth2::Client) -> oauth2::Client,
) -> (i64, bool) {
    thread_local! {
        static BODY: Cell<Option<UnsyncBoxBody<Bytes, Infallible>>> = const { Cell::new(None) };
    }
    let transport = service_fn(move |_: Request<RequestBody>| {
        let response = Response::builder().status(status).body(BODY.take().expect("one request"));
        std::future::ready(response)
    });
    let client = oauth2::Client::try_with_transport("https://id.example.com/", "app", transport).unwrap();
    let refresher = set(client).refresh_token_grant();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let context = RefreshContext::builder().refresh_token("R1").build();
    BODY.set(Some(body));
    let (result, peak) = most_during(|| runtime.block_on(refresher.refresh(context)));
    (peak, result.is_ok())
}

fn filled(before: &str, piece: &str, after: &str) -> Bytes {
    let times = (LIMIT - before.len() - after.len()) / piece.len();
    format!("{before}{}{after}", piece.repeat(times)).into()
}

/// Responses of about the limit with nothing large to keep.
fn nothing_to_keep() -> Vec<(&'static str, Bytes)> {
    let token = r#"{"access_token":"A2","token_type":"Bearer","#;
    vec![
        ("arrays", filled(token, r#""x":["#, "")),
        ("deep arrays", filled(r#"{"access_token":"A2","x":"#, "[", "")),
        ("deep objects", filled(r#"{"access_token":"A2","x":"#, r#"{"a":"#, "")),
        ("tiny members", filled(token, r#""":1,"#, r#""z":0}"#)),
        ("duplicates", filled(token, r#""access_token":"A3","#, r#""z":0}"#)),
        ("a long text of another kind", filled(r#"{"access_token":"A2","x":[""#, "x", r#""]}"#)),
        ("a long name", filled(r#"{"access_token":"A2",""#, "x", r#"":[]}"#)),
        ("a long number", filled(r#"{"access_token":"A2","expires_in":"#, "9", "}")),
        ("what isn't UTF-8", Bytes::from(vec![0xff; LIMIT])),
        ("blanks", filled("", " ", "")),
        ("a page", filled("<html>", "x", "</html>")),
        ("a form", filled("access_token=A2", "&x", "")),
    ]
}

/// Responses of about the limit that are kept for the most part.
fn much_to_keep() -> Vec<(&'static str, Bytes)> {
    vec![
        ("a token", filled(r#"{"access_token":""#, "x", r#""}"#)),
        ("an escaped token", filled(r#"{"access_token":""#, r"\u0078", r#""}"#)),
        ("a refresh token", filled(r#"{"access_token":"A2","refresh_token":""#, "x", r#""}"#)),
        ("a scope", filled(r#"{"access_token":"A2","scope":""#, "x", r#""}"#)),
        ("many scopes", filled(r#"{"access_token":"A2","scope":""#, "x ", r#""}"#)),
        ("many scopes with commas", filled(r#"{"access_token":"A2","scope":""#, "x,", r#""}"#)),
        ("an escaped scope", filled(r#"{"access_token":"A2","scope":"\n"#, "x ", r#""}"#)),
        ("a list of scopes", filled(r#"{"access_token":"A2","scope":["#, r#""x","#, r#""x"]}"#)),
        ("a long list of scopes", filled(r#"{"access_token":"A2","scope":[""#, "x", r#""]}"#)),
        ("an escaped member", filled(r#"{"access_token":"A2","id_token":"\n"#, "x", r#""}"#)),
        ("a token with one escape", filled(r#"{"access_token":"\n"#, "x", r#""}"#)),
        (
            "a refresh token with one escape",
            filled(r#"{"access_token":"A2","refresh_token":"\n"#, "x", r#""}"#),
        ),
        ("a token in a form with one escape", filled("access_token=%20", "x", "")),
        ("a code with a description", filled(r#"{"error":"a code","error_description":"\n"#, "x", r#""}"#)),
        ("a further member", filled(r#"{"access_token":"A2","id_token":""#, "x", r#""}"#)),
        ("a token in a form", filled("access_token=", "x", "")),
        ("a code", filled(r#"{"error":""#, "x", r#""}"#)),
        ("a code in an object", filled(r#"{"error":{"code":""#, r"\u0078", r#""}}"#)),
    ]
}

#[test]
fn c97_reading_any_response_takes_at_most_twice_the_limit() {
    let limit = 2 * LIMIT as i64 + OVERHEAD;
    for (what, body) in nothing_to_keep() {
        for status in [200, 400] {
            for body in [whole(body.clone()), pieces(&body, 1000)] {
                let (cost, _) = cost(status, body, |client| client);
                assert!((LIMIT as i64 / 2..=limit).contains(&cost), "{what}, {status}: {cost} of {limit}");
            }
        }
    }
}

#[test]
fn c97_d60_a_response_costs_at_most_twice_its_size_however_it_is_built() {
    let limit = 2 * LIMIT as i64 + OVERHEAD;
    for (what, body) in much_to_keep() {
        for body in [whole(body.clone()), pieces(&body, 1000)] {
            let (cost, is_token) = cost(200, body, |client| client.lifetime(Lifetime::jwt_exp()));
            assert_eq!(is_token, !what.contains("code"), "{what}");
            assert!((LIMIT as i64..=limit).contains(&cost), "{what}: {cost} of {limit}");
        }
    }
}

#[test]
fn d60_a_code_that_is_found_at_several_places_is_held_once() {
    let limit = 2 * LIMIT as i64 + OVERHEAD;
    for (path, body) in [
        ("/error/code", filled(r#"{"error":{"code":"\n"#, "x", r#""}}"#)),
        ("/error/suberror", filled(r#"{"error":{"suberror":"\n"#, "x", r#""}}"#)),
        ("error_description", filled(r#"{"error_description":"\n"#, "x", r#""}"#)),
    ] {
        let (cost, is_token) = cost(400, whole(body.clone()), |client| client.error_code_path(path));
        assert!(!is_token && (LIMIT as i64..=limit).contains(&cost), "{path}: {cost} of {limit}");
    }
}

#[test]
fn c97_a_response_above_the_limit_takes_no_more_than_the_limit() {
    let body = Bytes::from(vec![b' '; 64 * LIMIT]);
    for body in [whole(body.clone()), pieces(&body, 1000)] {
        let (cost, is_token) = cost(200, body, |client| client);
        assert!(!is_token && cost <= 2 * LIMIT as i64 + OVERHEAD, "{cost}");
    }
}

#[test]
fn c97_of_very_many_fields_not_all_are_kept() {
    let members: String = (0..9).map(|n| format!(r#""m{n}":"{}","#, "x".repeat(10))).collect();
    let numbered: String = (0..20_000).map(|n| format!(r#""{n}":1,"#)).collect();
    let body = format!(r#"{{{members}{numbered}"access_token":"A2"}}"#);
    let length = body.len() as i64;
    let (cost, is_token) = cost(200, whole(body.into()), |client| client);
    assert!(is_token && cost <= length + OVERHEAD, "{cost} of {length}");
}
