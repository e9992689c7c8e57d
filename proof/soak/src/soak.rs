//! Runs the operations, on one runtime after another.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use tokio::runtime::{Builder, Runtime};

use crate::{
    credential::Credential,
    operations::{operate, operate_outside},
};

/// The number of operations if none is set, as when all tests of the workspace run.
const FEW: u64 = 10_000;
const CREDENTIALS: usize = 4;
const CALLERS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Performs `TOWER_REAUTH_SOAK` operations on runtimes with `workers` worker threads; 0 means current-thread
/// runtimes, which run only while a thread drives them.
///
/// # Panics
///
/// If a property doesn't hold.
#[expect(clippy::print_stdout, reason = "a summary of the run")]
pub fn soak(workers: usize) {
    let operations = match env::var("TOWER_REAUTH_SOAK") {
        Ok(number) => number.parse().expect("TOWER_REAUTH_SOAK is a number"),
        Err(_) => FEW,
    };
    let credentials: Arc<[_]> = (0..CREDENTIALS).map(|_| Credential::new()).collect();
    let count = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let outside = {
        let (credentials, is_over) = (Arc::clone(&credentials), Arc::clone(&is_over));
        thread::spawn(move || {
            while !is_over.load(SeqCst) {
                operate_outside(&credentials[fastrand::usize(..CREDENTIALS)]);
                // Few operations, compared to those of the callers.
                thread::sleep(Duration::from_micros(100));
            }
        })
    };
    let mut runtimes = 0;
    while count.load(SeqCst) < operations {
        let end = (count.load(SeqCst) + fastrand::u64(1..2000)).min(operations);
        run(workers, &credentials, &count, end);
        check(&credentials);
        runtimes += 1;
    }
    is_over.store(true, SeqCst);
    outside.join().expect("no thread panics");
    // The callers of a runtime that is shut down in the background may not have been dropped yet.
    while Arc::strong_count(&credentials) > 1 {
        thread::yield_now();
    }
    recover(&credentials);
    check(&credentials);
    let refreshes: u64 = credentials.iter().map(|credential| credential.server.calls()).sum();
    println!("workers={workers} operations={operations} runtimes={runtimes} refreshes={refreshes}");
}

/// Runs callers until `end` operations have been performed in all. Then shuts the runtime down, usually
/// during operations.
fn run(workers: usize, credentials: &Arc<[Credential]>, count: &Arc<AtomicU64>, end: u64) {
    let runtime = runtime(workers);
    let callers = (0..CALLERS).map(|_| {
        let (credentials, count) = (Arc::clone(credentials), Arc::clone(count));
        runtime.spawn(async move {
            while count.load(SeqCst) < end {
                operate(&credentials[fastrand::usize(..CREDENTIALS)]).await;
                count.fetch_add(1, SeqCst);
                // A call that needn't wait doesn't yield to other tasks.
                tokio::task::yield_now().await;
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    if fastrand::bool() {
        // This completes even if a caller isn't woken: it times out, which is a violation.
        for ended in runtime.block_on(join_all(callers)) {
            ended.expect("no caller panics");
        }
    } else {
        // Other callers may be waiting, and flights may be in progress.
        let (ended, _, _) = runtime.block_on(select_all(callers));
        ended.expect("no caller panics");
    }
    match fastrand::bool() {
        true => runtime.shutdown_background(),
        false => drop(runtime),
    }
}

fn runtime(workers: usize) -> Runtime {
    let builder = match workers {
        0 => Builder::new_current_thread().enable_time().build(),
        workers => Builder::new_multi_thread().worker_threads(workers).enable_time().build(),
    };
    builder.expect("a runtime can be built")
}

/// Each session still works, counts no waiter, and can be saved.
fn recover(credentials: &[Credential]) {
    runtime(0).block_on(async {
        for credential in credentials {
            let session = &credential.session;
            credential.server.heal();
            session.idle().await;
            credential.check_rest();
            session.reset_backoff();
            credential.sign_in();
            if let Err(error) = session.refresh().await {
                credential.server.violation(format!("recovery: {error:?}"));
            }
            match session.shutdown(TIMEOUT).await {
                Ok(()) => credential.check_saved(),
                Err(error) => credential.server.violation(format!("shutdown: {error:?}")),
            }
            credential.check_rest();
        }
    });
}

fn check(credentials: &[Credential]) {
    for credential in credentials {
        let violations = credential.server.take_violations();
        assert!(violations.is_empty(), "violations: {violations:#?}");
    }
}
