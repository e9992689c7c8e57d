//! All that the crate prints is searched for secrets.

use std::error::Error as _;

use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Error, Origin, RefreshError, Session, Token};
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{
    BoxError, clock, endpoint, get,
    printed::{Printed, SECRET},
    spawn_refresh,
};

fn secret() -> Token {
    Token::builder(format!("{SECRET}-access"))
        .refresh_token(format!("{SECRET}-refresh"))
        .extra("id_token", format!("{SECRET}-id"))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn p14_c93_nothing_that_is_printed_shows_a_token() {
    let printed = Printed::default();
    let log = printed.clone();
    let subscriber = tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(move || log.clone()).with_ansi(false));
    let _log = tracing::subscriber::set_default(subscriber);
    let (panics, this) = (printed.clone(), std::thread::current().id());
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match std::thread::current().id() == this {
        true => panics.add(info.to_string()),
        false => others(info),
    }));

    let (refresher, mut endpoint) = endpoint();
    let events = printed.clone();
    let clock = clock();
    let builder = Session::builder(refresher)
        .token(secret())
        .clock(clock.clone())
        .on_event(move |event| events.add(event))
        .save_with(|_| async { Err(BoxError::from("disk full")) })
        .revoke_with(|_| async { Ok::<_, BoxError>(()) });
    printed.add(&builder);
    printed.add(secret());
    printed.add(Token::builder(SECRET));
    let session = builder.build();
    let layer = AuthLayer::from_session(session.clone());
    let server = service_fn(|_: http::Request<()>| async { Ok::<_, BoxError>(http::Response::new(())) });
    let client = layer.layer(server);
    let future = client.clone().oneshot(get());
    printed.add(&future);
    future.await.unwrap();
    let token = session.token().await.unwrap();
    printed.add((&session, &layer, &token, session.status(), session.watch(), token.header_value()));

    // All ways in which a refresh ends.
    for end in 0..6 {
        session.set_token(secret()).unwrap();
        session.reset_backoff();
        let waiting = spawn_refresh(&session);
        let call = endpoint.next_call().await;
        printed.add(&call.cx);
        match end {
            0 => call.fail(RefreshError::transient("down")),
            1 => call.fail(RefreshError::misconfigured(
                Token::try_new(format!("{SECRET}\n{SECRET}")).unwrap_err(),
            )),
            2 => call.panic("as the test says"),
            3 => call.fail(RefreshError::outcome_unknown("reset")),
            4 => call.fail(RefreshError::grant_ended("invalid_grant")),
            _ => {
                session.sign_in(secret());
                call.succeed("A2 R2 600");
            }
        }
        match waiting.await.unwrap() {
            Ok(token) => printed.add(token),
            Err(error) => printed.add_error(&error),
        }
        printed.add(&session);
    }
    let _ = session.sign_out();
    let error: BoxError = client.oneshot(get()).await.unwrap_err();
    assert!(Error::find(&*error).is_some());
    printed.add_error(&*error);
    printed.assert_no_secret();
}

/// As the docs of `RefreshError` say.
#[tokio::test(start_paused = true)]
async fn p14_a_refreshers_error_is_passed_on_as_it_is() {
    let (refresher, mut endpoint) = endpoint();
    let session = crate::support::expired(refresher).build();
    let waiting = tokio::spawn(async move { session.token().await });
    endpoint.next_call().await.fail(RefreshError::transient("the user's own words"));
    let error = waiting.await.unwrap().unwrap_err();
    let shown = format!("{:?}", RefreshError::find(&error).unwrap().source().unwrap());
    assert!(shown.contains("the user's own words"));
}

#[test]
fn p14_an_invalid_origin_shows_no_password() {
    let error = "https://oauth2:s3cr3t-token@git.example.com".parse::<Origin>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cr3t-token"), "{error}");
}
