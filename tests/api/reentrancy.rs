//! Re-entrancy.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_reauth::{AuthLayer, Error, RefreshContext, RefreshError, Session, SkipAuth, refresh_fn};

use crate::support::{BoxError, clock, endpoint, expired, get, token};

type Client = BoxCloneSyncService<http::Request<()>, http::Response<()>, BoxError>;

async fn ok(_: http::Request<()>) -> Result<http::Response<()>, BoxError> {
    Ok(http::Response::new(()))
}

/// The refresher sends its request through the client that it refreshes for.
#[tokio::test(start_paused = true)]
async fn p12_c82_b57_a_refresh_through_its_own_layer_is_an_error_at_once() {
    let client = Arc::<OnceLock<Client>>::default();
    let own = Arc::clone(&client);
    let refresher = refresh_fn(move |_| {
        let client = own.get().unwrap().clone();
        async move {
            let error = client.oneshot(get()).await.unwrap_err();
            assert!(Error::find(&*error).unwrap().is_reentrant());
            Err(RefreshError::misconfigured(error))
        }
    });
    let session = expired(refresher).build();
    let layered = BoxCloneSyncService::new(AuthLayer::from_session(session.clone()).layer(service_fn(ok)));
    client.set(layered.clone()).unwrap();
    let error = layered.oneshot(get()).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert!(error.is_misconfigured());
    // The inner error is in the outer one's chain of sources.
    let inner = RefreshError::find(error).and_then(std::error::Error::source).unwrap();
    assert!(Error::find(inner).unwrap().is_reentrant());
    assert!(inner.to_string().contains("SkipAuth"));
}

/// Neither waits for the refresh.
#[tokio::test(start_paused = true)]
async fn p12_b13_inside_a_refresher_skip_auth_requests_and_reads_work() {
    let client = Arc::<OnceLock<(Client, Session)>>::default();
    let own = Arc::clone(&client);
    let refresher = refresh_fn(move |cx: RefreshContext| {
        let (client, session) = own.get().unwrap().clone();
        async move {
            assert_eq!(cx.refresh_token(), Some("R1"));
            assert!(session.try_token().is_none() && session.status().is_refreshing());
            let mut request = get();
            request.extensions_mut().insert(SkipAuth);
            client.oneshot(request).await.map_err(RefreshError::transient)?;
            Ok(token("A2 R2 600"))
        }
    });
    let session = expired(refresher).build();
    let layered = BoxCloneSyncService::new(AuthLayer::from_session(session.clone()).layer(service_fn(ok)));
    let _ = client.set((layered.clone(), session));
    layered.oneshot(get()).await.unwrap();
}

/// Each of the session's calls that wait, in the refresher and in the save hook.
#[tokio::test(start_paused = true)]
async fn p12_no_call_in_a_refresher_or_save_hook_waits_for_itself() {
    let own = Arc::<OnceLock<Session>>::default();
    let (in_refresher, in_hook) = (Arc::clone(&own), Arc::clone(&own));
    let refresher = refresh_fn(move |_| {
        let session = in_refresher.get().unwrap().clone();
        async move {
            assert!(session.token().await.unwrap_err().is_reentrant());
            assert!(session.refresh().await.unwrap_err().is_reentrant());
            Ok(token("A2 R2 600"))
        }
    });
    let session = expired(refresher)
        .save_with(move |_| {
            let session = in_hook.get().unwrap().clone();
            async move {
                assert!(session.token().await.unwrap_err().is_reentrant());
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let _ = own.set(session.clone());
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert!(!session.status().is_unsaved(), "the hook's assertions held");
}

/// A shutdown waits for the flight, so inside the flight it is an error at once.
#[tokio::test(start_paused = true)]
async fn p12_p17_a_shutdown_inside_the_refresher_does_not_wait() {
    let own = Arc::<OnceLock<Session>>::default();
    let inside = Arc::clone(&own);
    let refresher = refresh_fn(move |_| {
        let session = inside.get().unwrap().clone();
        async move {
            let ended = futures::poll!(Box::pin(session.shutdown(Duration::from_secs(3))));
            match ended {
                std::task::Poll::Ready(Err(error)) if error.is_reentrant() => Ok(token("A2 R2 600")),
                other => Err(RefreshError::grant_ended(format!("{other:?}"))),
            }
        }
    });
    let session = expired(refresher).build();
    let _ = own.set(session.clone());
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert!(session.status().is_shut_down());
}

/// A fresh token is served without waiting, so it can't hang.
#[tokio::test(start_paused = true)]
async fn p12_inside_a_refresher_a_fresh_token_is_served_and_a_stale_one_is_an_error() {
    for (age, served) in [(0, true), (450, false)] {
        let own = Arc::<OnceLock<Session>>::default();
        let inside = Arc::clone(&own);
        let refresher = refresh_fn(move |_| {
            let session = inside.get().unwrap().clone();
            async move {
                match session.token().await {
                    Ok(_) if served => Ok(token("A2 R2 600")),
                    Err(error) if error.is_reentrant() && !served => Ok(token("A2 R2 600")),
                    other => Err(RefreshError::grant_ended(format!("{other:?}"))),
                }
            }
        });
        let clock = clock();
        let session =
            Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
        let _ = own.set(session.clone());
        clock.step(Duration::from_secs(age));
        assert_eq!(session.refresh().await.unwrap().secret(), "A2", "{age}");
    }
}

/// As in a token exchange.
#[tokio::test(start_paused = true)]
async fn p12_another_sessions_token_is_available_inside_a_refresher() {
    let (first, mut endpoint) = endpoint();
    let subject = expired(first).build();
    let exchange = {
        let subject = subject.clone();
        refresh_fn(move |_| {
            let subject = subject.clone();
            async move {
                let token = subject.token().await.map_err(RefreshError::transient)?;
                assert_eq!(token.secret(), "A2");
                Ok(crate::support::token("X1 - 600"))
            }
        })
    };
    let session = Session::builder(exchange).clock(clock()).build();
    let waiting = tokio::spawn(async move { session.token().await });
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "X1");
}

/// In a task of its own the call can't be detected. Its wait timeout and the flight's timeout bound it.
#[tokio::test(start_paused = true)]
async fn p12_a_refresh_that_needs_itself_from_another_task_times_out() {
    let own = Arc::<OnceLock<Session>>::default();
    let inside = Arc::clone(&own);
    let refresher = refresh_fn(move |_| {
        let session = inside.get().unwrap().clone();
        async move {
            let error = tokio::spawn(async move { session.token().await }).await.unwrap().unwrap_err();
            assert!(error.is_timeout());
            Err(RefreshError::misconfigured(error))
        }
    });
    let session = expired(refresher).build();
    let _ = own.set(session.clone());
    assert!(session.token().await.unwrap_err().is_timeout());
    assert!(session.status().last_error().is_none_or(|error| error.is_misconfigured()));
}

/// The wait starts outside and is then polled by the refresher.
#[tokio::test(start_paused = true)]
async fn p12_a_wait_that_moves_into_the_refresher_ends_at_once() {
    let (outside, carried) = tokio::sync::mpsc::unbounded_channel::<futures::future::BoxFuture<'static, _>>();
    let carried = Arc::new(tokio::sync::Mutex::new(carried));
    let refresher = refresh_fn(move |_| {
        let carried = Arc::clone(&carried);
        async move {
            let wait = carried.lock().await.recv().await.unwrap();
            let result: Result<tower_reauth::AccessToken, Error> = wait.await;
            assert!(result.unwrap_err().is_reentrant());
            Ok(token("A2 R2 600"))
        }
    });
    let session = expired(refresher).build();
    let own = session.clone();
    let mut wait: futures::future::BoxFuture<'static, _> = Box::pin(async move { own.token().await });
    assert!(futures::poll!(&mut wait).is_pending());
    outside.send(wait).unwrap();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn p12_idle_inside_the_refresher_does_not_hang() {
    let own = Arc::<OnceLock<Session>>::default();
    let inside = Arc::clone(&own);
    let refresher = refresh_fn(move |_| {
        let session = inside.get().unwrap().clone();
        async move {
            session.idle().await;
            Ok(token("A2 R2 600"))
        }
    });
    let session = expired(refresher).build();
    let _ = own.set(session.clone());
    let start = tokio::time::Instant::now();
    let result = session.token().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{result:?} after {:?}", start.elapsed());
}

/// Whatever the refresher makes of the error, a retry won't help.
#[tokio::test(start_paused = true)]
async fn d26_a_refresher_that_waits_for_its_own_session_is_misconfigured_and_says_so() {
    let own = Arc::<OnceLock<Session>>::default();
    let inside = Arc::clone(&own);
    let refresher = refresh_fn(move |_| {
        let session = inside.get().unwrap().clone();
        // Like a transport's error, with the session's error as its source.
        async move { Err(RefreshError::transient(session.token().await.unwrap_err())) }
    });
    let session = expired(refresher).build();
    let _ = own.set(session.clone());
    let error = session.token().await.unwrap_err();
    assert!(error.is_misconfigured() && !error.is_retryable(), "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("its own session") && source.contains("SkipAuth"), "{source}");
}

/// A listener is called in the thread that causes the event, and may block it.
#[tokio::test(start_paused = true)]
async fn d06_a_demand_in_a_listener_is_an_error_at_once() {
    let (refresher, mut endpoint) = endpoint();
    let own = Arc::<OnceLock<Session>>::default();
    let inside = Arc::clone(&own);
    let results = Arc::<std::sync::Mutex<Vec<bool>>>::default();
    let recorded = Arc::clone(&results);
    let session = expired(refresher)
        .on_event(move |_| {
            let session = inside.get().unwrap();
            for demand in [session.refresh().now_or_never(), session.token().now_or_never()] {
                let is_reentrant = matches!(demand, Some(Err(error)) if error.is_reentrant());
                recorded.lock().unwrap().push(is_reentrant);
            }
        })
        .build();
    let _ = own.set(session.clone());
    let waiting = crate::support::spawn_token(&session);
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    waiting.await.unwrap().unwrap_err();
    // Of the start, and of the failure.
    assert_eq!(*results.lock().unwrap(), [true; 4]);
}
