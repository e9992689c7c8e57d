//! Steps in which many things happen at once.

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

use super::{MARK, Row, content, join};

const SWAPS: usize = 32;
const TASKS: usize = 16;
const ROUNDS: usize = 50;
const SIZES: usize = 1000;
const SPURIOUS: usize = 100;
/// A store that needs longer is taken for one that doesn't notify.
const FIRST_NOTIFICATION: Duration = Duration::from_secs(1);
const NEXT_NOTIFICATION: Duration = Duration::from_secs(30);

pub(super) async fn one_winner<S: TokenStore>(row: Row, (one, two): (S, S)) {
    let handles = [Arc::new(one), Arc::new(two)];
    let mut version = None;
    for expected in ["no record", "its version"] {
        let mut tasks = JoinSet::new();
        for number in 0..SWAPS {
            let (store, version) = (Arc::clone(&handles[number % 2]), version.clone());
            tasks.spawn(async move {
                let record = content(format_args!("{expected}, {number}"));
                (row.swap(&*store, version.as_ref(), &record).await, record)
            });
        }
        let written = join(tasks).await.into_iter().filter_map(|(swap, record)| match swap {
            Swap::Written(version) => Some((version, record)),
            Swap::Conflict => None,
        });
        let written: Vec<(Version, Record)> = written.collect();
        let [(new, record)] = &written[..] else {
            row.fail(format_args!("of {SWAPS} that expected {expected}, {} were written", written.len()))
        };
        row.assert_content(&*handles[0], record, "another record is there than the one that was written")
            .await;
        version = Some(new.clone());
    }
}

pub(super) async fn count<S: TokenStore>(row: Row, (one, two): (S, S)) {
    let record = |count: usize| content(format_args!("{count:06}"));
    let handles = [Arc::new(one), Arc::new(two)];
    row.write(&*handles[0], None, &record(0)).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&handles[task % 2]);
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                // Each conflict is another task's write.
                let mut conflicts = 0;
                loop {
                    let loaded = row.load(&*store).await;
                    yield_now().await;
                    let next = record(counted(row, loaded.record()) + 1);
                    if let Swap::Written(_) = row.swap(&*store, Some(loaded.version()), &next).await {
                        break;
                    }
                    conflicts += 1;
                    row.assert(conflicts <= 10 * TASKS * ROUNDS, "swaps conflict though nobody writes");
                }
            }
        });
    }
    join(tasks).await;
    let counted = counted(row, row.load(&*handles[0]).await.record());
    if counted != TASKS * ROUNDS {
        row.fail(format_args!("{} writes of a count that grows by one led to {counted}", TASKS * ROUNDS));
    }
}

fn counted(row: Row, record: &Record) -> usize {
    let digits = record.as_bytes().get(MARK.len() + 2..).and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(count) => count,
        None => row.fail("other bytes were loaded than were written"),
    }
}

pub(super) async fn whole_records<S: TokenStore>(row: Row, (one, two): (S, S)) {
    let record = |size: usize| content(format_args!("{size} {}", "x".repeat(size)));
    let mut version = row.write(&one, None, &record(4 * SIZES)).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    readers.spawn({
        let is_done = Arc::clone(&is_done);
        async move {
            while !is_done.load(Ordering::Relaxed) {
                let loaded = row.load(&two).await;
                let text = String::from_utf8_lossy(loaded.record().as_bytes());
                let size = text.rsplit(' ').next().map_or(0, str::len);
                let is_whole = loaded.record().as_bytes() == record(size).as_bytes();
                row.assert(is_whole, "part of a record was loaded, or a mixture of two");
                yield_now().await;
            }
        }
    });
    for size in (0..SIZES).rev() {
        version = row.write(&one, Some(&version), &record(4 * size)).await;
        yield_now().await;
    }
    is_done.store(true, Ordering::Relaxed);
    join(readers).await;
}

pub(super) async fn dropped_swaps(row: Row, store: &impl TokenStore) {
    let record = |number: usize| content(format_args!("{number} {}", "x".repeat(4000)));
    row.write(store, None, &record(0)).await;
    // A swap that was dropped may still take effect, so each of them may be there.
    let mut possible = vec![record(0)];
    for polls in 1.. {
        let version = row.load(store).await.version().clone();
        let next = record(polls);
        possible.push(next.clone());
        let is_complete = {
            let mut swap = pin!(store.swap(Some(&version), &next));
            let mut left = polls;
            poll_fn(|cx| {
                left -= 1;
                match swap.as_mut().poll(cx) {
                    Poll::Ready(result) => {
                        row.expect(result);
                        Poll::Ready(true)
                    }
                    Poll::Pending if left == 0 => Poll::Ready(false),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        };
        let loaded = row.load(store).await;
        let is_possible = possible.iter().any(|record| record.as_bytes() == loaded.record().as_bytes());
        row.assert(is_possible, "neither the old nor the new record is there");
        if is_complete {
            return;
        }
    }
}

pub(super) async fn notifications<S: TokenStore>(row: Row, one: &S, two: &S, three: &S) {
    let version = row.write(one, None, &content("a")).await;
    row.load(three).await;
    let mut listening = None;
    for _ in 0..SPURIOUS {
        row.load(two).await;
        let mut changed = Box::pin(two.changed());
        if changed.as_mut().now_or_never().is_none() {
            listening = Some(changed);
            break;
        }
    }
    let Some(listening) = listening else {
        row.fail("`changed` completes over and over, and nothing changes")
    };
    row.write(one, Some(&version), &content("b")).await;
    // This one begins to listen when it is too late.
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
        row.fail(format_args!("a change {missed} isn't notified, others are"));
    }
}
