//! `check_store`: good stores pass, and each fault is found by the step for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tower_reauth::store::{FileStore, MemoryStore, check_store};

use crate::faulty::{Backend, Fault};

#[tokio::test]
async fn memory_store_passes() {
    let store = MemoryStore::new();
    check_store(async |name| store.with_name(name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store_passes_on_many_threads() {
    let store = MemoryStore::new();
    check_store(async |name| store.with_name(name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_store_passes() {
    let folder = tempfile::tempdir().unwrap();
    check_store(async |name| FileStore::new(folder.path().join(name))).await;
}

#[test]
fn store_without_a_fault_passes() {
    assert_eq!(check(Fault::None), "passed");
}

/// The message with which a store with this fault is refused.
fn check(fault: Fault) -> String {
    // The store is in memory, so nothing comes while the check waits: with paused time it needn't.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let backend = Backend::default();
    let check = check_store(async |name| backend.open(fault, name));
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(check))) {
        Ok(()) => "passed".to_owned(),
        Err(payload) => payload.downcast_ref::<String>().expect("a message").clone(),
    }
}

#[track_caller]
fn assert_found(fault: Fault, row: &str, what: &str) {
    assert_eq!(check(fault), format!("check_store: {row}: {what}"), "{fault:?}");
}

macro_rules! faults {
    ($($test:ident: $fault:ident => $row:literal, $what:literal;)*) => {
        $(
            #[test]
            fn $test() {
                assert_found(Fault::$fault, $row, $what);
            }
        )*
    };
}

faults! {
    missing_record_loaded_as_empty: MissingIsEmpty =>
        "a missing record loads as none", "a load returned a record that nobody has written";
    first_write_that_is_lost: FirstWriteIsLost =>
        "a first swap writes the record", "the record is missing after it was written";
    version_of_a_swap_that_differs_from_that_of_a_load: OtherVersion =>
        "a first swap writes the record", "the loaded version isn't the one that the swap returned";
    upsert: Upsert =>
        "a swap that expects no record conflicts with one that is there", "the swap was written";
    last_write_wins: LastWriteWins =>
        "a swap of an old version conflicts", "the swap was written";
    same_bytes_that_conflict: SameBytesConflict =>
        "a swap of the same bytes is a write", "a swap of the current version conflicted";
    version_that_wraps_around: VersionsWrap =>
        "a version never repeats for other content", "an earlier record had the same version";
    earlier_version_of_the_same_content: AbaIsAccepted =>
        "a version never repeats for other content", "a swap of an earlier version was written";
    compare_then_write: CompareThenWrite =>
        "of concurrent swaps exactly one is written", "of 32 that expected no record, 32 were written";
    rare_lost_update: RareLostUpdate =>
        "no update is lost", "800 increments of a counter resulted in 799";
    lagging_replica: LaggingReplica =>
        "a load sees the last swap of another handle", "the load returned an earlier record";
    record_written_in_place: TornReads =>
        "a load never sees half a record", "part of a record was loaded, or a mixture of two";
    record_that_has_to_be_utf8: OnlyUtf8 =>
        "any bytes come back unchanged", "bytes that aren't UTF-8 changed";
    empty_record_that_is_missing: EmptyIsMissing =>
        "any bytes come back unchanged", "an empty record changed";
    record_that_is_truncated: Truncates =>
        "any bytes come back unchanged", "a record of 1 MiB changed";
    dropped_swap_that_leaves_half_a_record: TornWhenDropped =>
        "a dropped swap leaves a whole record", "neither the old nor the new record is there";
    missed_change_before: MissesEarlierChanges =>
        "a store that notifies misses no change", "a change between the last load and `changed` wasn't notified, although others were";
    missed_change_while_waiting: MissesLaterChanges =>
        "a store that notifies misses no change", "a change while `changed` was polled wasn't notified, although others were";
    change_without_end: ChangesAlways =>
        "a store that notifies misses no change", "`changed` completes repeatedly although nothing changes";
    clock_that_goes_back: ClockGoesBack =>
        "the store's clock never goes back", "the second of two loads had an earlier time";
    clock_of_some_loads: ClockNowAndThen =>
        "the store's clock never goes back", "one load had a time and another had none";
    many_holders: ManyHolders =>
        "one handle at a time has the hold", "two handles have it at the same time";
    hold_that_stays: HoldStays =>
        "one handle at a time has the hold", "it was still busy 5 s after it was dropped";
    names_that_are_cut_off: ShortNames =>
        "records of other names stay untouched",
        "two names that differ only in the last character share a record";
    error_with_the_record: ErrorShowsRecord =>
        "no error contains the record", "an error contains what was to be stored";
    version_that_never_was: AnyVersion =>
        "no error contains the record", "a swap of a version that never existed was written";
}

#[test]
fn blind_write_of_a_claim() {
    let message = check(Fault::BlindClaims);
    let row = "check_store: sessions over the store make one exchange per refresh: ";
    assert!(message.starts_with(row) && message.contains("refused"), "{message}");
}
