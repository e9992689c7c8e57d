//! Steps in which one thing happens after another.

use std::collections::HashMap;

use crate::store::{Record, Swap, TokenStore, Version, record::HoldKind};

use super::{MARK, Row, content, describe, pause};

pub(super) async fn missing_record(row: Row, store: &impl TokenStore) {
    row.assert(row.try_load(store).await.is_none(), "a record was loaded that nobody has written");
}

pub(super) async fn first_write(row: Row, store: &impl TokenStore) {
    let record = content("a");
    let version = row.write(store, None, &record).await;
    let loaded = row.assert_content(store, &record, "other bytes were loaded than were written").await;
    row.assert(*loaded.version() == version, "another version was loaded than the swap returned");
}

pub(super) async fn second_first_write(row: Row, store: &impl TokenStore) {
    let record = content("a");
    row.write(store, None, &record).await;
    row.conflict(store, None, "the swap was written").await;
    row.assert_content(store, &record, "the swap conflicted, and changed the record").await;
}

pub(super) async fn old_version(row: Row, store: &impl TokenStore) {
    let record = content("b");
    let first = row.write(store, None, &content("a")).await;
    let second = row.write(store, Some(&first), &record).await;
    row.assert(first != second, "two records have the same version");
    row.conflict(store, Some(&first), "the swap was written").await;
    row.assert_content(store, &record, "the swap conflicted, and changed the record").await;
}

pub(super) async fn same_bytes(row: Row, store: &impl TokenStore) {
    let record = content("a");
    let first = row.write(store, None, &record).await;
    let second = row.write(store, Some(&first), &record).await;
    // Equal versions are those of the content.
    if first != second {
        row.conflict(store, Some(&first), "the version before it could still be swapped").await;
    }
    row.assert_content(store, &record, "the bytes changed").await;
}

pub(super) async fn versions(row: Row, store: &impl TokenStore) {
    let first = row.write(store, None, &content("a")).await;
    let second = row.write(store, Some(&first), &content("b")).await;
    let third = row.write(store, Some(&second), &content("a")).await;
    if first != third {
        row.conflict(store, Some(&first), "a swap of an earlier version was written").await;
    }
    let mut contents = HashMap::from([(first.as_str().to_owned(), "a".to_owned())]);
    contents.insert(second.as_str().to_owned(), "b".to_owned());
    let mut version = third;
    for number in 0..64 {
        let what = number.to_string();
        version = row.write(store, Some(&version), &content(&what)).await;
        if contents.insert(version.as_str().to_owned(), what).is_some() {
            row.fail("an earlier record had the same version");
        }
    }
}

pub(super) async fn other_handle(row: Row, (one, two): (impl TokenStore, impl TokenStore)) {
    let mut version = row.write(&one, None, &content("first")).await;
    for number in 0..50 {
        let record = content(number);
        let otherwise = "the load returned an earlier record";
        if number % 2 == 0 {
            version = row.write(&one, Some(&version), &record).await;
            row.assert_content(&two, &record, otherwise).await;
        } else {
            version = row.write(&two, Some(&version), &record).await;
            row.assert_content(&one, &record, otherwise).await;
        }
    }
}

pub(super) fn unusual_contents() -> [Record; 3] {
    let all_bytes: Vec<u8> = (0..=255).rev().collect();
    [
        Record::from_bytes(MARK.as_bytes().iter().copied().cycle().take(1 << 20).collect::<Vec<_>>()),
        Record::from_bytes(""),
        Record::from_bytes(all_bytes),
    ]
}

pub(super) async fn any_bytes(row: Row, (one, two): (impl TokenStore, impl TokenStore), record: Record) {
    let otherwise = match record.as_bytes().len() {
        0 => "an empty record changed",
        256 => "bytes that aren't UTF-8 changed",
        _ => "a record of 1 MiB changed",
    };
    let version = row.write(&one, None, &record).await;
    if row.try_load(&two).await.is_none() {
        row.fail(otherwise);
    }
    row.assert_content(&two, &record, otherwise).await;
    row.write(&two, Some(&version), &content("next")).await;
}

pub(super) async fn clock(row: Row, store: &impl TokenStore) {
    row.write(store, None, &content("a")).await;
    let first = row.load(store).await.time();
    pause().await;
    let second = row.load(store).await.time();
    row.assert(first.is_some() == second.is_some(), "one load had a time, another had none");
    row.assert(second >= first, "the second of two loads had an earlier time");
}

pub(super) async fn hold(row: Row, (one, two): (impl TokenStore, impl TokenStore)) {
    let first = row.try_hold(&one).await.into_kind();
    let second = row.try_hold(&two).await.into_kind();
    let guard = match (first, second) {
        (HoldKind::None, HoldKind::None) => return,
        (HoldKind::Held(guard), HoldKind::Busy(_)) => guard,
        (HoldKind::Held(_), HoldKind::Held(_)) => row.fail("two handles have it at once"),
        (HoldKind::Busy(_), _) => row.fail("it was busy while nobody had it"),
        (HoldKind::None, _) | (_, HoldKind::None) => row.fail("one handle can have it, another can't"),
    };
    drop(guard);
    for _ in 0..100 {
        if let HoldKind::Held(_) = row.try_hold(&two).await.into_kind() {
            return;
        }
        pause().await;
    }
    row.fail("it was still busy 5 s after it was dropped")
}

pub(super) async fn other_names(row: Row, one: &impl TokenStore, two: &impl TokenStore) {
    let record = content("of the first name");
    let version = row.write(one, None, &record).await;
    if row.try_load(two).await.is_some() {
        row.fail("a name has the record of another, which is as long and differs in its last letter");
    }
    row.write(two, None, &content("of the second name")).await;
    let loaded = row.assert_content(one, &record, "a write to one name changed another").await;
    row.assert(*loaded.version() == version, "a write to one name changed the version of another");
}

pub(super) async fn errors(row: Row, store: &impl TokenStore) {
    row.write(store, None, &content("a")).await;
    // A session never does this: it is to make the store fail.
    match store.swap(Some(&Version::new("no version of this store")), &content("b")).await {
        Ok(Swap::Conflict) => {}
        Ok(Swap::Written(_)) => row.fail("a swap of a version that never was has been written"),
        Err(error) => {
            describe(&error);
        }
    }
}
