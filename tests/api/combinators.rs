//! Refreshers made from others.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{task::JoinSet, time::Instant};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, RefresherExt, Session, Token, event::Warning,
    refresh::AnyRefresher, refresh_fn,
};

use crate::support::{
    BoxError, RecordedTokens, clock, endpoint, expired, run_pending_tasks, spawn_refresh, spawn_token, token,
};

const MS: Duration = Duration::from_millis(1);

/// A refresher that returns `results` in turn, and its number of calls.
fn scripted(
    results: impl IntoIterator<Item = Result<Token, RefreshError>>,
) -> (impl Refresher, Arc<AtomicUsize>) {
    let script = Mutex::new(results.into_iter().collect::<Vec<_>>().into_iter());
    let count = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&count);
    let refresher = refresh_fn(move |_: RefreshContext| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(script.lock().unwrap().next().expect("no further call"))
    });
    (refresher, count)
}

fn busy() -> RefreshError {
    RefreshError::transient("busy")
}

fn with_id_token(token: Token) -> Result<Token, RefreshError> {
    let id_token = token.extra("id_token").map(str::to_owned);
    let id_token = id_token.ok_or_else(|| RefreshError::misconfigured("no id_token"))?;
    Ok(token.into_builder().access_token(id_token).build()?)
}

// === tokens ===

#[test]
fn d55_a_token_that_is_taken_apart_and_built_again_loses_nothing() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let whole = || {
        Token::builder("A1")
            .scheme("DPoP")
            .refresh_token("R1")
            .scopes(["read", "write"])
            .extra("id_token", "I1")
            .extra("instance_url", "https://eu7.example.com")
            .warning(Warning::MissingLifetime)
    };
    let tokens = [
        whole().expires_at(at(5000)).refresh_at(at(4000)).received_at(at(1000)),
        whole().expires_in(600 * 1000 * MS).refresh_in(300 * 1000 * MS).received_at(at(1000)),
        whole().expires_in(600 * 1000 * MS).refresh_in(300 * 1000 * MS),
        whole().expires_at(at(5000)),
        Token::builder("A1"),
    ];
    for token in tokens.map(|builder| builder.build().unwrap()) {
        // A lifetime that no session has counted yet counts from when the token was built the first time.
        let later = || Token::builder("A").expires_in(600 * 1000 * MS).build().unwrap().expires_at();
        while later() == token.expires_at() {
            std::thread::yield_now();
        }
        let again = token.clone().into_builder().build().unwrap();
        assert_eq!((again.access_token(), again.scheme()), (token.access_token(), token.scheme()));
        assert_eq!(again.refresh_token(), token.refresh_token());
        assert_eq!(again.expires_at(), token.expires_at());
        assert_eq!(again.refresh_at(), token.refresh_at());
        assert_eq!(again.received_at(), token.received_at());
        assert_eq!(again.scopes(), token.scopes());
        assert_eq!(again.warnings(), token.warnings());
        for name in ["id_token", "instance_url", "other"] {
            assert_eq!(again.extra(name), token.extra(name), "{name}");
        }
    }
}

// === map_token ===

#[tokio::test(start_paused = true)]
async fn d55_another_member_as_the_bearer_keeps_the_lifetime_and_the_refresh_token() {
    let response = || {
        let token = Token::builder("A2").refresh_token("R2").expires_in(Duration::from_secs(600));
        token.extra("id_token", "I2").build().unwrap()
    };
    let (refresher, _) = scripted([Ok(response()), Ok(response())]);
    let refresher = refresher.map_token(with_id_token);
    let mapped = refresher.refresh(RefreshContext::default()).await.unwrap();
    let lifetime = mapped.expires_at().unwrap().duration_since(mapped.received_at().unwrap());
    assert_eq!(lifetime.unwrap(), Duration::from_secs(600));

    let saved = RecordedTokens::default();
    let session = expired(refresher).save_with(saved.hook()).build();
    assert_eq!(session.token().await.unwrap().secret(), "I2");
    assert_eq!(saved.all(), ["I2 R2"]);
    let left = session.status().expires_at().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(left, Duration::from_secs(1_000_000 + 600 - 30));
}

#[tokio::test(start_paused = true)]
async fn d55_a_mapping_that_fails_keeps_the_rotated_refresh_token() {
    type Fail = fn(&'static str) -> RefreshError;
    let fails: [Fail; 3] = [
        |text| RefreshError::misconfigured(text),
        |text| RefreshError::transient(text),
        |text| {
            // The response is there: nothing is unknown.
            RefreshError::outcome_unknown(text)
        },
    ];
    for fail in fails {
        let (refresher, mut endpoint) = endpoint();
        let has_failed = AtomicUsize::new(0);
        let refresher = refresher.map_token(move |token| match has_failed.fetch_add(1, Ordering::SeqCst) {
            0 => Err(fail("no id_token")),
            _ => Ok(token),
        });
        let session = expired(refresher).build();
        let waiting = spawn_token(&session);
        endpoint.next_call().await.succeed("A2 R2 600");
        let error = waiting.await.unwrap().unwrap_err();
        assert!(!error.is_outcome_unknown(), "{error:?}");
        session.reset_backoff();
        let waiting = spawn_token(&session);
        let call = endpoint.next_call().await;
        assert_eq!(call.cx.refresh_token(), Some("R2"));
        call.succeed("A3 R3 600");
        assert_eq!(waiting.await.unwrap().unwrap().secret(), "A3");
    }
}

#[tokio::test(start_paused = true)]
async fn d55_a_mapped_token_without_a_refresh_token_keeps_the_response_s() {
    let (refresher, _) = scripted([Ok(token("A2 R2 600")), Ok(token("A2 R2 600"))]);
    let mapped = refresher.map_token(|token| match token.refresh_token() {
        Some("R2") => Ok(Token::try_new("B2")?),
        _ => Ok(token),
    });
    let token = mapped.refresh(RefreshContext::default()).await.unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("B2", Some("R2")));
    let mapped = mapped.map_token(|_| Err(busy().with_refresh_token("R9")));
    let session = expired(mapped).build();
    session.token().await.unwrap_err();
    assert_eq!(session.sign_out().refresh_token(), Some("R9"));
}

#[tokio::test(start_paused = true)]
async fn p02_a_mapping_that_panics_loses_no_rotated_refresh_token() {
    let (refresher, mut endpoint) = endpoint();
    let has_panicked = AtomicBool::new(false);
    let refresher = refresher.map_token(move |token| {
        assert!(has_panicked.swap(true, Ordering::SeqCst), "no id_token");
        Ok(token)
    });
    let saved = RecordedTokens::default();
    let session = expired(refresher).save_with(saved.hook()).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    let error = waiting.await.unwrap().unwrap_err();
    // The response is there: nothing is unknown.
    assert!(error.is_transient() && RefreshError::find(&error).unwrap().is_unexplained(), "{error:?}");
    assert_eq!(saved.all(), ["A1 R2"]);
    session.reset_backoff();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R2"));
    call.succeed("A3 R3 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A3");
}

// === map_err ===

#[tokio::test(start_paused = true)]
async fn p02_a_mapped_error_keeps_the_rotated_refresh_token() {
    type Map = fn(RefreshError) -> RefreshError;
    let maps: [Map; 4] = [
        |_| RefreshError::transient("replaced"),
        |_| RefreshError::outcome_unknown("replaced"),
        |error| RefreshError::misconfigured(error),
        |_| panic!("not mapped"),
    ];
    for map in maps {
        let (refresher, mut endpoint) = endpoint();
        let session = expired(refresher.map_err(map)).build();
        let waiting = spawn_token(&session);
        endpoint.next_call().await.fail(busy().with_refresh_token("R2"));
        let error = waiting.await.unwrap().unwrap_err();
        assert!(!error.is_outcome_unknown(), "{error:?}");
        assert_eq!(session.sign_out().refresh_token(), Some("R2"));
    }
}

#[tokio::test(start_paused = true)]
async fn p09_an_error_whose_mapping_panics_is_passed_on_as_it_is() {
    for error in [busy(), RefreshError::outcome_unknown("reset"), RefreshError::grant_ended("invalid_grant")]
    {
        let (refresher, _) = scripted([Err(error.clone())]);
        let mapped = refresher.map_err(|_| panic!("not mapped")).refresh(RefreshContext::default()).await;
        assert_eq!(format!("{:?}", mapped.unwrap_err()), format!("{error:?}"));
    }
}

// === keep_extras ===

#[tokio::test(start_paused = true)]
async fn d79_extras_can_be_read_from_the_session_and_survive_a_refresh_if_kept() {
    let with_url = |access, url: Option<&str>| {
        let token = Token::builder(access).refresh_token("R").expires_in(Duration::from_secs(600));
        token.extra("instance_url", url).extra("id_token", "I").build().unwrap()
    };
    for kept in [true, false] {
        let (refresher, _) = scripted([
            Ok(token("A2 R2 600")),
            Ok(token("A3 R3 600")),
            Ok(with_url("A4", Some("https://eu8.example.com"))),
        ]);
        let names = if kept { vec!["instance_url", "unknown"] } else { vec![] };
        let saved = Arc::<Mutex<Vec<Option<String>>>>::default();
        let save = {
            let saved = Arc::clone(&saved);
            move |token: Option<Token>| {
                let url = token.and_then(|token| token.extra("instance_url").map(str::to_owned));
                saved.lock().unwrap().push(url);
                std::future::ready(Ok::<_, BoxError>(()))
            }
        };
        let session = Session::builder(refresher.keep_extras(names))
            .token(with_url("A1", Some("https://eu7.example.com")))
            .clock(clock())
            .save_with(save)
            .build();
        assert_eq!(session.extra("instance_url").as_deref(), Some("https://eu7.example.com"));
        assert_eq!((session.extra("id_token").as_deref(), session.extra("unknown")), (Some("I"), None));
        let old = kept.then_some("https://eu7.example.com");
        for _ in 0..2 {
            session.refresh().await.unwrap();
            assert_eq!(session.extra("instance_url").as_deref(), old);
            assert_eq!(session.extra("id_token"), None);
        }
        session.refresh().await.unwrap();
        let new = Some("https://eu8.example.com");
        assert_eq!(session.extra("instance_url").as_deref(), new);
        assert_eq!(*saved.lock().unwrap(), [old, old, new].map(|url| url.map(str::to_owned)));
        let _ = session.sign_out();
        assert_eq!(session.extra("instance_url"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn d79_another_user_does_not_get_the_last_one_s_extras() {
    let (refresher, mut endpoint) = endpoint();
    let stored = Token::builder("A1").extra("instance_url", "https://eu7.example.com").build().unwrap();
    let session = Session::builder(refresher.keep_extras(["instance_url"])).token(stored).build();
    session.sign_in(token("B1 Q1 600"));
    assert_eq!(session.extra("instance_url"), None);
    let waiting = spawn_refresh(&session);
    endpoint.next_call().await.succeed("B2 Q2 600");
    waiting.await.unwrap().unwrap();
    assert_eq!(session.extra("instance_url"), None);
}

// === retry ===

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_after_each_delay_and_fail_no_caller() {
    let (refresher, count) = scripted([Err(busy()), Err(busy()), Ok(token("A2 R2 600"))]);
    let session = expired(refresher.retry([200 * MS, 600 * MS])).build();
    let begin = Instant::now();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!((begin.elapsed(), count.load(Ordering::SeqCst)), (800 * MS, 3));
    assert_eq!(session.status().consecutive_failures(), 0);

    let (refresher, count) = scripted([Err(busy()), Err(busy()), Err(busy())]);
    let session = expired(refresher.retry([200 * MS, 600 * MS])).build();
    assert!(session.token().await.unwrap_err().is_transient());
    assert_eq!((session.status().consecutive_failures(), count.load(Ordering::SeqCst)), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn only_a_failure_that_used_nothing_up_is_retried() {
    for error in [
        RefreshError::outcome_unknown("reset"),
        RefreshError::unexplained("?"),
        RefreshError::misconfigured("invalid_client"),
        RefreshError::grant_ended("invalid_grant"),
        busy().with_refresh_token("R2"),
        busy().with_retry_after(201 * MS),
    ] {
        let (refresher, count) = scripted([Err(error)]);
        let begin = Instant::now();
        refresher.retry([200 * MS]).refresh(RefreshContext::default()).await.unwrap_err();
        assert_eq!((begin.elapsed(), count.load(Ordering::SeqCst)), (Duration::ZERO, 1));
    }
    let (refresher, _) = scripted([Err(busy().with_retry_after(200 * MS)), Ok(token("A2 R2 600"))]);
    refresher.retry([200 * MS]).refresh(RefreshContext::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_retry_fits_into_the_refresh_timeout_and_is_wanted() {
    let (refresher, count) = scripted([Err(busy())]);
    let session = expired(refresher.retry([200 * MS])).refresh_timeout(200 * MS).build();
    let begin = Instant::now();
    assert!(session.token().await.unwrap_err().is_transient());
    assert_eq!((begin.elapsed(), count.load(Ordering::SeqCst)), (Duration::ZERO, 1));

    let (refresher, count) = scripted([Err(busy())]);
    let session = expired(refresher.retry([200 * MS])).build();
    let waiting = spawn_token(&session);
    run_pending_tasks().await;
    let _ = session.sign_out();
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    session.idle().await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

// === or_else ===

#[tokio::test(start_paused = true)]
async fn p01_a_fallback_prompts_once_for_any_number_of_callers() {
    let (refresher, refused) =
        scripted([Err(RefreshError::grant_ended("invalid_grant")), Ok(token("A3 R3 600"))]);
    let (prompt, mut prompts) = endpoint();
    let session = expired(refresher.or_else(prompt))
        .refresh_timeout(Duration::from_secs(300))
        .wait_timeout(Duration::from_secs(300))
        .build();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let session = session.clone();
        callers.spawn(async move { session.token().await });
    }
    let call = prompts.next_call().await;
    while session.status().waiters() < 100 {
        tokio::task::yield_now().await;
    }
    // What was refused isn't presented again.
    assert_eq!(call.cx.refresh_token(), None);
    assert_eq!(call.cx.token().unwrap().access_token(), "A1");
    tokio::time::advance(Duration::from_secs(240)).await;
    call.succeed("A2 R2 600");
    for result in callers.join_all().await {
        assert_eq!(result.unwrap().secret(), "A2");
    }
    assert_eq!((prompts.call_count(), refused.load(Ordering::SeqCst)), (1, 1));
    // The next refresh exchanges the new refresh token.
    assert_eq!(session.refresh().await.unwrap().secret(), "A3");
    assert_eq!(prompts.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p18_at_a_timeout_nobody_is_prompted_again_without_a_new_demand() {
    // The refresh timeout, and the fallback's own.
    for own_timeout in [false, true] {
        let refresher = refresh_fn(|_| async { Err(RefreshError::grant_ended("invalid_grant")) });
        let (prompt, mut prompts) = endpoint();
        let timeout = Duration::from_secs(if own_timeout { 50 } else { 3600 });
        let session = expired(refresher.or_else(prompt.timeout(timeout)))
            .wait_timeout(Duration::from_secs(100))
            .wait_through_backoff(true)
            .build();
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let session = session.clone();
            callers.spawn(async move { session.token().await });
        }
        let call = prompts.next_call().await;
        for result in callers.join_all().await {
            let error = result.unwrap_err();
            assert_eq!((error.is_transient(), error.is_outcome_unknown()), (own_timeout, !own_timeout));
        }
        assert!(call.is_dropped());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(prompts.call_count(), 1);

        let waiting = spawn_token(&session);
        prompts.next_call().await.succeed("A2 R2 600");
        assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
        assert_eq!(prompts.call_count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn p08_a_fallback_is_called_only_for_an_ended_grant_that_is_still_wanted() {
    for error in [
        busy(),
        RefreshError::unexplained("?"),
        RefreshError::outcome_unknown("reset"),
        RefreshError::misconfigured("invalid_client"),
        RefreshError::grant_ended("?").with_refresh_token("R2"),
    ] {
        let (refresher, _) = scripted([Err(error)]);
        let (prompt, prompts) = endpoint();
        refresher.or_else(prompt).refresh(RefreshContext::default()).await.unwrap_err();
        assert_eq!(prompts.call_count(), 0);
    }

    let (refresher, mut endpoint) = endpoint();
    let (prompt, prompts) = crate::support::endpoint();
    let session = expired(refresher.or_else(prompt)).build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    let _ = session.sign_out();
    call.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    session.idle().await;
    assert_eq!(prompts.call_count(), 0);
}

/// The refresh token that was refused is neither saved with the fallback's token nor presented again.
#[tokio::test(start_paused = true)]
async fn p08_a_fallback_s_token_without_a_refresh_token_stands_alone() {
    let log_in = || refresh_fn(|_| async { Ok(token("A2 - 600")) });
    let (refresher, calls) = endpoint();
    let plain = (AnyRefresher::new(refresher.or_else(log_in())), calls);
    let (refresher, calls) = endpoint();
    let mapped = refresher.or_else(log_in()).map_token(|mapped| match mapped.refresh_token() {
        Some(_) => Ok(mapped),
        None => Ok(token(&format!("{} - 600", mapped.access_token()))),
    });
    let mapped = (AnyRefresher::new(mapped), calls);
    let (refresher, calls) = endpoint();
    let inner = AnyRefresher::new(refresher.or_else(log_in()));
    let rebuilt = refresh_fn(move |cx| {
        let inner = inner.clone();
        async move { Ok(inner.refresh(cx).await?.into_builder().extra("user", "u1").build()?) }
    });
    let rebuilt = (AnyRefresher::new(rebuilt), calls);
    for (refresher, mut calls) in [plain, mapped, rebuilt] {
        let saved = RecordedTokens::default();
        let session = expired(refresher).save_with(saved.hook()).build();
        let waiting = spawn_token(&session);
        let call = calls.next_call().await;
        assert_eq!(call.cx.refresh_token(), Some("R1"));
        call.fail(RefreshError::grant_ended("invalid_grant"));
        assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
        assert_eq!(saved.all(), ["A2 -"]);
        let waiting = spawn_refresh(&session);
        let call = calls.next_call().await;
        assert_eq!(call.cx.refresh_token(), None);
        // The next response keeps what the session has, as always.
        call.succeed("A3 R3 600");
        assert_eq!(waiting.await.unwrap().unwrap().secret(), "A3");
        let waiting = spawn_refresh(&session);
        calls.next_call().await.succeed("A4 - 600");
        waiting.await.unwrap().unwrap();
        assert_eq!(saved.all()[1..], ["A3 R3", "A4 R3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p08_a_token_set_during_a_prompt_loses_the_refused_refresh_token() {
    let refresher = refresh_fn(|_| async { Err(RefreshError::grant_ended("invalid_grant")) });
    let (prompt, mut prompts) = endpoint();
    let saved = RecordedTokens::default();
    let session = expired(refresher.or_else(prompt)).save_with(saved.hook()).build();
    let waiting = spawn_token(&session);
    let call = prompts.next_call().await;
    session.set_token(token("A9 - 600")).unwrap();
    call.succeed("A2 - 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A9");
    session.idle().await;
    assert_eq!(saved.all(), ["A9 R1", "A9 -"]);
}

/// A hook may have kept a fallback's token.
#[tokio::test(start_paused = true)]
async fn p08_a_fallback_s_token_that_is_set_keeps_the_session_s_refresh_token() {
    let refresher = refresh_fn(|_| async { Err(RefreshError::grant_ended("invalid_grant")) });
    let log_in = refresh_fn(|_| async { Ok(token("A2 - 600")) });
    let kept = Arc::<Mutex<Option<Token>>>::default();
    let hook = Arc::clone(&kept);
    let session = expired(refresher.or_else(log_in)).save_with(move |token| {
        *hook.lock().unwrap() = token;
        std::future::ready(Ok::<_, BoxError>(()))
    });
    session.build().token().await.unwrap();
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("B1 R5 600")).build();
    session.set_token(kept.lock().unwrap().clone().unwrap()).unwrap();
    let tokens = session.sign_out();
    assert_eq!((tokens.access_token(), tokens.refresh_token()), (Some("A2"), Some("R5")));
}

#[tokio::test(start_paused = true)]
async fn p08_a_declined_prompt_ends_the_session() {
    let refresher = refresh_fn(|_| async { Err(RefreshError::grant_ended("invalid_grant")) });
    let (prompt, mut prompts) = endpoint();
    let session = expired(refresher.or_else(prompt)).build();
    let waiting = spawn_token(&session);
    prompts.next_call().await.fail(RefreshError::grant_ended("declined"));
    assert!(waiting.await.unwrap().unwrap_err().is_grant_ended());
    assert!(session.token().await.unwrap_err().is_grant_ended());
    assert_eq!(prompts.call_count(), 1);
}
