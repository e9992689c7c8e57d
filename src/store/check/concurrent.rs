//! Steps in which operations run concurrently.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{Either, select},
};
use tokio::{
    task::{JoinSet, yield_now},
    time::timeout,
};

use crate::store::{Record, Swap, TokenStore, Version};

use super::{MARK, Step, content, join};

const SWAPS: usize = 32;
const TASKS: usize = 16;
const ROUNDS: usize = 50;
const SIZES: usize = 1000;
const SPURIOUS: usize = 100;
/// A store that takes longer is assumed not to notify.
const FIRST_NOTIFICATION: Duration = Duration::from_secs(1);
const NEXT_NOTIFICATION: Duration = Duration::from_secs(30);

pub(super) async fn one_winner<S: TokenStore>(step: Step, (one, two): (S, S)) {
    let handles = [Arc::new(one), Arc::new(two)];
    let mut version = None;
    for expected in ["no record", "its version"] {
        let mut tasks = JoinSet::new();
        for number in 0..SWAPS {
            let (store, version) = (Arc::clone(&handles[number % 2]), version.clone());
            tasks.spawn(async move {
                let record = content(format_args!("{expected}, {number}"));
                (step.swap(&*store, version.as_ref(), &record).await, record)
            });
        }
        let written = join(tasks).await.into_iter().filter_map(|(swap, record)| match swap {
            Swap::Written(version) => Some((version, record)),
            Swap::Conflict => None,
        });
        let written: Vec<(Version, Record)> = written.collect();
        let [(new, record)] = &written[..] else {
            step.fail(format_args!("of {SWAPS} that expected {expected}, {} were written", written.len()))
        };
        step.assert_content(&*handles[0], record, "the stored record isn't the one that was written").await;
        version = Some(new.clone());
    }
}

pub(super) async fn count<S: TokenStore>(step: Step, (one, two): (S, S)) {
    let record = |count: usize| content(format_args!("{count:06}"));
    let handles = [Arc::new(one), Arc::new(two)];
    step.write(&*handles[0], None, &record(0)).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&handles[task % 2]);
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                // Each conflict is another task's write.
                let mut conflicts = 0;
                loop {
                    let loaded = step.load(&*store).await;
                    yield_now().await;
                    let next = record(counted(step, loaded.record()) + 1);
                    if let Swap::Written(_) = step.swap(&*store, Some(loaded.version()), &next).await {
                        break;
                    }
                    conflicts += 1;
                    step.assert(conflicts <= 10 * TASKS * ROUNDS, "far more swaps conflict than are written");
                }
            }
        });
    }
    join(tasks).await;
    let counted = counted(step, step.load(&*handles[0]).await.record());
    if counted != TASKS * ROUNDS {
        step.fail(format_args!("{} increments of a counter resulted in {counted}", TASKS * ROUNDS));
    }
}

fn counted(step: Step, record: &Record) -> usize {
    let digits = record.as_bytes().get(MARK.len() + 2..).and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(count) => count,
        None => step.fail("the loaded bytes aren't the ones that were written"),
    }
}

pub(super) async fn whole_records<S: TokenStore>(step: Step, (one, two): (S, S)) {
    let record = |size: usize| content(format_args!("{size} {}", "x".repeat(size)));
    let mut version = step.write(&one, None, &record(4 * SIZES)).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    readers.spawn({
        let is_done = Arc::clone(&is_done);
        async move {
            while !is_done.load(Ordering::Relaxed) {
                let loaded = step.load(&two).await;
                let text = String::from_utf8_lossy(loaded.record().as_bytes());
                let size = text.rsplit(' ').next().map_or(0, str::len);
                let is_whole = loaded.record().as_bytes() == record(size).as_bytes();
                step.assert(is_whole, "part of a record was loaded, or a mixture of two");
                yield_now().await;
            }
        }
    });
    for size in (0..SIZES).rev() {
        version = step.write(&one, Some(&version), &record(4 * size)).await;
        yield_now().await;
    }
    is_done.store(true, Ordering::Relaxed);
    join(readers).await;
}

pub(super) async fn dropped_swaps(step: Step, store: &impl TokenStore) {
    let record = |number: usize| content(format_args!("{number} {}", "x".repeat(4000)));
    step.write(store, None, &record(0)).await;
    // A swap that was dropped may still take effect, so each of them may be there.
    let mut possible = vec![record(0)];
    for polls in 1.. {
        let version = step.load(store).await.version().clone();
        let next = record(polls);
        possible.push(next.clone());
        let is_complete = {
            let mut swap = pin!(store.swap(Some(&version), &next));
            let mut left = polls;
            poll_fn(|cx| {
                left -= 1;
                match swap.as_mut().poll(cx) {
                    Poll::Ready(result) => {
                        step.expect(result);
                        Poll::Ready(true)
                    }
                    Poll::Pending if left == 0 => Poll::Ready(false),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        };
        let loaded = step.load(store).await;
        let is_possible = possible.iter().any(|record| record.as_bytes() == loaded.record().as_bytes());
        step.assert(is_possible, "neither the old nor the new record is there");
        if is_complete {
            return;
        }
    }
}

pub(super) async fn notifications<S: TokenStore>(step: Step, one: &S, two: &S, three: &S) {
    let version = step.write(one, None, &content("a")).await;
    step.load(three).await;
    let mut listening = None;
    for _ in 0..SPURIOUS {
        step.load(two).await;
        let mut changed = Box::pin(two.changed());
        if changed.as_mut().now_or_never().is_none() {
            listening = Some(changed);
            break;
        }
    }
    let Some(listening) = listening else {
        step.fail("`changed` completes repeatedly although nothing changes")
    };
    step.write(one, Some(&version), &content("b")).await;
    // This one starts to listen after the change.
    let late = Box::pin(three.changed());
    let (is_notified, missed) = match timeout(FIRST_NOTIFICATION, select(listening, late)).await {
        Err(_) => return,
        Ok(Either::Left(((), late))) => {
            (timeout(NEXT_NOTIFICATION, late).await.is_ok(), "between the last load and `changed`")
        }
        Ok(Either::Right(((), listening))) => {
            (timeout(NEXT_NOTIFICATION, listening).await.is_ok(), "while `changed` was polled")
        }
    };
    if !is_notified {
        step.fail(format_args!("a change {missed} wasn't notified, although others were"));
    }
}
