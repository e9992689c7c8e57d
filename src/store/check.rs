//! [`check_store`].

mod basics;
mod concurrent;
mod sessions;

use std::{error::Error as StdError, fmt::Display, future::pending, iter::successors, panic, time::Duration};

use tokio::task::JoinSet;

use super::{Hold, Loaded, Record, StoreError, Swap, TokenStore, Version};

/// Checks that a store upholds the contract of [`TokenStore`], in a test of your own store.
///
/// `open` returns a new handle on the record with the given name; handles with the same name share it. Each step
/// uses new random names, such as `check-store-5f0c6b1d0e4a9c27-1`, and leaves their records behind.
///
/// Run it on a multi-threaded tokio runtime, so that operations run in parallel, and don't pause its time. It makes
/// about 2,000 writes.
///
/// # What it doesn't check
///
/// - Durability: that a write survives a crash of the server, a failover or a restore.
/// - Expiry and eviction.
/// - Replicas that lag behind, and handles on several hosts, unless `open` returns such handles.
/// - That a record that can't be read is an error, never `None`.
/// - That a write whose response was lost is an error, and isn't retried by the store.
/// - That no operation blocks its thread, or takes longer than the 3 s that a session waits for it.
/// - That a version doesn't repeat after the record was deleted.
/// - That the hold of a process that was killed is released.
///
/// # Examples
///
/// ```
/// # use tower_reauth::store::{Loaded, MemoryStore, Record, StoreError, Swap, TokenStore, Version};
/// # struct MyStore(MemoryStore);
/// # impl TokenStore for MyStore {
/// #     async fn load(&self) -> Result<Option<Loaded>, StoreError> {
/// #         self.0.load().await
/// #     }
/// #     async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
/// #         self.0.swap(expected, record).await
/// #     }
/// # }
/// # static BACKEND: std::sync::LazyLock<MemoryStore> = std::sync::LazyLock::new(MemoryStore::new);
/// # impl MyStore {
/// #     async fn open(name: &str) -> Self {
/// #         Self(BACKEND.with_name(name))
/// #     }
/// # }
/// use tower_reauth::store::check_store;
///
/// # /*
/// #[tokio::test(flavor = "multi_thread")]
/// # */
/// async fn my_store_keeps_the_contract() {
///     check_store(async |name| MyStore::open(name).await).await;
/// }
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(my_store_keeps_the_contract());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
///
/// If the store fails a step. The message names the step and says what happened.
pub async fn check_store<S: TokenStore>(open: impl AsyncFn(&str) -> S) {
    let run = fastrand::u64(..);
    let mut names = (1..).map(|number| format!("check-store-{run:016x}-{number}"));
    let mut next = || names.next().unwrap_or_default();
    let pair = async |name: String| (open(&name).await, open(&name).await);

    basics::missing_record(Step("a missing record loads as none"), &open(&next()).await).await;
    basics::first_write(Step("a first swap writes the record"), &open(&next()).await).await;
    basics::second_first_write(
        Step("a swap that expects no record conflicts with one that is there"),
        &open(&next()).await,
    )
    .await;
    basics::old_version(Step("a swap of an old version conflicts"), &open(&next()).await).await;
    basics::same_bytes(Step("a swap of the same bytes is a write"), &open(&next()).await).await;
    basics::versions(Step("a version never repeats for other content"), &open(&next()).await).await;
    concurrent::one_winner(Step("of concurrent swaps exactly one is written"), pair(next()).await).await;
    concurrent::count(Step("no update is lost"), pair(next()).await).await;
    basics::other_handle(Step("a load sees the last swap of another handle"), pair(next()).await).await;
    concurrent::whole_records(Step("a load never sees half a record"), pair(next()).await).await;
    for content in basics::unusual_contents() {
        basics::any_bytes(Step("any bytes come back unchanged"), pair(next()).await, content).await;
    }
    concurrent::dropped_swaps(Step("a dropped swap leaves a whole record"), &open(&next()).await).await;
    let name = next();
    let (one, two) = pair(name.clone()).await;
    concurrent::notifications(Step("a store that notifies misses no change"), &one, &two, &open(&name).await)
        .await;
    basics::clock(Step("the store's clock never goes back"), &open(&next()).await).await;
    basics::hold(Step("one handle at a time has the hold"), pair(next()).await).await;
    // Long names that differ at their end.
    let name = format!("{}-{}", next(), "x".repeat(64));
    let (one, two) = (open(&format!("{name}-1")).await, open(&format!("{name}-2")).await);
    basics::other_names(Step("records of other names stay untouched"), &one, &two).await;
    basics::errors(Step(ERRORS), &open(&next()).await).await;
    let name = next();
    let mut stores = Vec::new();
    for _ in 0..sessions::COUNT {
        stores.push(open(&name).await);
    }
    sessions::refreshes(Step("sessions over the store make one exchange per refresh"), stores).await;
}

/// A step, with its name for error messages.
#[derive(Clone, Copy)]
struct Step(&'static str);

const ERRORS: &str = "no error contains the record";
/// A text that all records contain, and no error may.
const MARK: &str = "check_store's content";

// === impl Step ===

impl Step {
    #[track_caller]
    fn fail(self, what: impl Display) -> ! {
        panic!("check_store: {}: {what}", self.0)
    }

    #[track_caller]
    fn assert(self, holds: bool, otherwise: &str) {
        if !holds {
            self.fail(otherwise);
        }
    }

    #[track_caller]
    fn expect<T>(self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|error| self.fail(format_args!("it failed: {}", describe(&error))))
    }

    async fn try_load(self, store: &impl TokenStore) -> Option<Loaded> {
        self.expect(store.load().await)
    }

    async fn load(self, store: &impl TokenStore) -> Loaded {
        match self.try_load(store).await {
            Some(loaded) => loaded,
            None => self.fail("the record is missing after it was written"),
        }
    }

    async fn swap(self, store: &impl TokenStore, expected: Option<&Version>, record: &Record) -> Swap {
        self.expect(store.swap(expected, record).await)
    }

    /// A swap that has to be written.
    async fn write(self, store: &impl TokenStore, expected: Option<&Version>, record: &Record) -> Version {
        match self.swap(store, expected, record).await {
            Swap::Written(version) => version,
            Swap::Conflict => self.fail("a swap of the current version conflicted"),
        }
    }

    /// A swap that has to conflict.
    async fn conflict(self, store: &impl TokenStore, expected: Option<&Version>, otherwise: &str) {
        if let Swap::Written(_) = self.swap(store, expected, &content("of a conflict")).await {
            self.fail(otherwise);
        }
    }

    async fn assert_content(self, store: &impl TokenStore, record: &Record, otherwise: &str) -> Loaded {
        let loaded = self.load(store).await;
        self.assert(loaded.record().as_bytes() == record.as_bytes(), otherwise);
        loaded
    }

    async fn try_hold(self, store: &impl TokenStore) -> Hold {
        self.expect(store.try_hold().await)
    }
}

fn content(what: impl Display) -> Record {
    Record::from_bytes(format!("{MARK}: {what}"))
}

/// An error with its sources.
#[track_caller]
fn describe(error: &(dyn StdError + 'static)) -> String {
    let chain: Vec<_> = successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    let description = chain.join(": ");
    if description.contains(MARK) || format!("{error:?}").contains(MARK) {
        Step(ERRORS).fail("an error contains what was to be stored");
    }
    description
}

/// Waits for all tasks, and resumes a panic of one of them here.
async fn join<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(result) => results.push(result),
            Err(error) => match error.try_into_panic() {
                Ok(payload) => panic::resume_unwind(payload),
                Err(error) => panic!("{error}"),
            },
        }
    }
    results
}

async fn pause() {
    let _ = tokio::time::timeout(Duration::from_millis(50), pending::<()>()).await;
}
