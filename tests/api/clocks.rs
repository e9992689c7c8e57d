//! Sleep and clock steps.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tower_reauth::{
    Session,
    rt::{Clock, NoTimer, Sleep, SystemClock, Timestamp},
};

use crate::support::{clock, endpoint, token};

/// The first call after the step notices it, so time that passes later isn't hidden by it.
#[tokio::test(start_paused = true)]
async fn p13_time_that_passes_after_a_step_back_counts() {
    let (refresher, _endpoint) = endpoint();
    let clock = clock();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock.clone()).build();
    clock.step_back(Duration::from_secs(3600));
    assert_eq!(session.token().await.unwrap().secret(), "A1");
    clock.step(Duration::from_secs(3600));
    assert!(session.status().is_expired());
    assert!(session.try_token().is_none());
}

/// A step that is smaller than the token's age: the monotonic clock's difference is larger.
#[tokio::test(start_paused = true)]
async fn p13_a_small_step_back_does_not_extend_the_lifetime() {
    let (refresher, _endpoint) = endpoint();
    let clock = clock();
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .refresh_early(false)
        .clock(clock.clone())
        .build();
    tokio::time::advance(Duration::from_secs(500)).await;
    clock.step_back(Duration::from_secs(100));
    tokio::time::advance(Duration::from_millis(69_999)).await;
    assert!(session.status().is_fresh() && session.try_token().is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(session.status().is_expired() && session.try_token().is_none());
}

/// A new process has only the wall clock to compare with.
#[tokio::test(start_paused = true)]
async fn p13_a_stored_token_that_expired_while_no_process_ran_is_not_used() {
    let clock = clock();
    let stored = token("A1 R1 600");
    let (refresher, _endpoint) = endpoint();
    let first = Session::builder(refresher).token(stored).clock(clock.clone()).build();
    let expires_at = first.status().expires_at().unwrap();
    drop(first);
    clock.step(Duration::from_secs(86_400));
    let (refresher, _endpoint) = crate::support::endpoint();
    let stored =
        tower_reauth::Token::builder("A1").refresh_token("R1").expires_at(expires_at).build().unwrap();
    let second = Session::builder(refresher).token(stored).clock(clock).build();
    assert!(second.status().is_expired() && second.try_token().is_none());
}

/// They neither panic nor make a token valid forever.
#[tokio::test(start_paused = true)]
async fn p13_wall_clocks_at_the_limits_are_survived() {
    for start in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(9_000_000_000)] {
        let clock = tower_reauth::rt::TestClock::new(start);
        let (refresher, _endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock.clone()).build();
        assert!(session.status().is_fresh());
        clock.step_back(Duration::from_secs(1 << 40));
        assert!(session.token().await.is_ok());
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(session.status().is_expired(), "by the monotonic clock");
    }
}

#[tokio::test(start_paused = true)]
async fn p13_callers_and_status_agree_on_the_expiry_after_a_step_back() {
    let clock = clock();
    let (refresher, _endpoint) = endpoint();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    clock.step_back(Duration::from_secs(3600));
    let slow_path = session.token().await.unwrap().expires_at();
    let fast_path = session.token().await.unwrap().expires_at();
    let status = session.status().expires_at();
    assert_eq!((slow_path, fast_path), (status, status));
}

/// One thread notices the step back; the others' copies of the token must follow.
#[tokio::test(start_paused = true)]
async fn p13_a_step_back_that_one_thread_noticed_counts_for_all_threads() {
    all_threads_notice(|session| drop(futures_util::FutureExt::now_or_never(session.token()))).await;
}

/// Reading the status re-anchors the token, too.
#[tokio::test(start_paused = true)]
async fn p13_a_step_back_that_a_status_noticed_counts_for_all_threads() {
    all_threads_notice(|session| drop(session.status())).await;
    all_threads_notice(|session| drop(session.try_token())).await;
}

async fn all_threads_notice(notice: fn(&Session)) {
    use std::sync::{Arc, Barrier};

    use futures_util::FutureExt as _;

    const THREADS: usize = 8;
    let (refresher, _endpoint) = endpoint();
    let clock = clock();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock.clone()).build();
    let (read, stepped) = (Arc::new(Barrier::new(THREADS + 1)), Arc::new(Barrier::new(THREADS + 1)));
    let runtime = tokio::runtime::Handle::current();
    let thread = || {
        let (session, runtime) = (session.clone(), runtime.clone());
        let (read, stepped) = (Arc::clone(&read), Arc::clone(&stepped));
        std::thread::spawn(move || {
            let _entered = runtime.enter();
            session.token().now_or_never().unwrap().unwrap();
            read.wait();
            stepped.wait();
            session.try_token()
        })
    };
    let threads: Vec<_> = (0..THREADS).map(|_| thread()).collect();
    read.wait();
    clock.step_back(Duration::from_secs(3600));
    notice(&session);
    assert_eq!(session.token().await.unwrap().secret(), "A1");
    clock.step(Duration::from_secs(3600));
    stepped.wait();
    let tokens: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
    assert!(session.status().is_expired() && tokens.is_empty(), "{} threads have a token", tokens.len());
}

/// A thread that was held up since it read the clock isn't a clock that was set back: meanwhile the machine slept, and
/// another thread got a new token.
#[tokio::test]
async fn p13_a_late_use_of_an_earlier_reading_ages_no_token() {
    let (refresher, _endpoint) = endpoint();
    let clock = ReadEarly::default();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock.clone()).build();
    let (sleeping, other) = (clock.clone(), session.clone());
    clock.after_next_read(move || {
        sleeping.pass(Duration::from_secs(3600), Duration::from_millis(1));
        other.set_token(token("A2 R2 600")).unwrap();
    });
    session.status();
    assert!(session.status().is_fresh());
    assert_eq!(session.token().await.unwrap().secret(), "A2");
}

type Hook = Box<dyn FnOnce() + Send>;

/// A clock after whose reading a test can do something, before the reading is used.
#[derive(Clone, Default)]
struct ReadEarly {
    /// The wall clock and the monotonic one.
    now: Arc<Mutex<(Duration, Duration)>>,
    hook: Arc<Mutex<Option<Hook>>>,
}

// === impl ReadEarly ===

impl ReadEarly {
    fn pass(&self, wall: Duration, monotonic: Duration) {
        let mut now = self.now.lock().unwrap();
        now.0 += wall;
        now.1 += monotonic;
    }

    fn after_next_read(&self, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }
}

impl Clock for ReadEarly {
    fn now(&self) -> Timestamp {
        let (wall, monotonic) = *self.now.lock().unwrap();
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        Timestamp::new(SystemTime::UNIX_EPOCH + wall, monotonic)
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        SystemClock.sleep(duration)
    }
}
