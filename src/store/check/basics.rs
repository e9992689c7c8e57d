//! Steps in which operations run one after another.

use std::collections::HashMap;

use crate::store::{Record, Swap, TokenStore, Version, record::HoldKind};

use super::{MARK, Step, content, describe, pause};

pub(super) async fn missing_record(step: Step, store: &impl TokenStore) {
    step.assert(step.try_load(store).await.is_none(), "a load returned a record that nobody has written");
}

pub(super) async fn first_write(step: Step, store: &impl TokenStore) {
    let record = content("a");
    let version = step.write(store, None, &record).await;
    let loaded =
        step.assert_content(store, &record, "the loaded bytes aren't the ones that were written").await;
    step.assert(*loaded.version() == version, "the loaded version isn't the one that the swap returned");
}

pub(super) async fn second_first_write(step: Step, store: &impl TokenStore) {
    let record = content("a");
    step.write(store, None, &record).await;
    step.conflict(store, None, "the swap was written").await;
    step.assert_content(store, &record, "the swap conflicted, but changed the record").await;
}

pub(super) async fn old_version(step: Step, store: &impl TokenStore) {
    let record = content("b");
    let first = step.write(store, None, &content("a")).await;
    let second = step.write(store, Some(&first), &record).await;
    step.assert(first != second, "two records have the same version");
    step.conflict(store, Some(&first), "the swap was written").await;
    step.assert_content(store, &record, "the swap conflicted, but changed the record").await;
}

pub(super) async fn same_bytes(step: Step, store: &impl TokenStore) {
    let record = content("a");
    let first = step.write(store, None, &record).await;
    let second = step.write(store, Some(&first), &record).await;
    // If they are equal, they are versions of the content.
    if first != second {
        step.conflict(store, Some(&first), "the previous version could still be swapped").await;
    }
    step.assert_content(store, &record, "the bytes changed").await;
}

pub(super) async fn versions(step: Step, store: &impl TokenStore) {
    let first = step.write(store, None, &content("a")).await;
    let second = step.write(store, Some(&first), &content("b")).await;
    let third = step.write(store, Some(&second), &content("a")).await;
    if first != third {
        step.conflict(store, Some(&first), "a swap of an earlier version was written").await;
    }
    let mut contents = HashMap::from([(first.as_str().to_owned(), "a".to_owned())]);
    contents.insert(second.as_str().to_owned(), "b".to_owned());
    let mut version = third;
    for number in 0..64 {
        let what = number.to_string();
        version = step.write(store, Some(&version), &content(&what)).await;
        if contents.insert(version.as_str().to_owned(), what).is_some() {
            step.fail("an earlier record had the same version");
        }
    }
}

pub(super) async fn other_handle(step: Step, (one, two): (impl TokenStore, impl TokenStore)) {
    let mut version = step.write(&one, None, &content("first")).await;
    for number in 0..50 {
        let record = content(number);
        let otherwise = "the load returned an earlier record";
        if number % 2 == 0 {
            version = step.write(&one, Some(&version), &record).await;
            step.assert_content(&two, &record, otherwise).await;
        } else {
            version = step.write(&two, Some(&version), &record).await;
            step.assert_content(&one, &record, otherwise).await;
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

pub(super) async fn any_bytes(step: Step, (one, two): (impl TokenStore, impl TokenStore), record: Record) {
    let otherwise = match record.as_bytes().len() {
        0 => "an empty record changed",
        256 => "bytes that aren't UTF-8 changed",
        _ => "a record of 1 MiB changed",
    };
    let version = step.write(&one, None, &record).await;
    if step.try_load(&two).await.is_none() {
        step.fail(otherwise);
    }
    step.assert_content(&two, &record, otherwise).await;
    step.write(&two, Some(&version), &content("next")).await;
}

pub(super) async fn clock(step: Step, store: &impl TokenStore) {
    step.write(store, None, &content("a")).await;
    let first = step.load(store).await.time();
    pause().await;
    let second = step.load(store).await.time();
    step.assert(first.is_some() == second.is_some(), "one load had a time and another had none");
    step.assert(second >= first, "the second of two loads had an earlier time");
}

pub(super) async fn hold(step: Step, (one, two): (impl TokenStore, impl TokenStore)) {
    let first = step.try_hold(&one).await.into_kind();
    let second = step.try_hold(&two).await.into_kind();
    let guard = match (first, second) {
        (HoldKind::None, HoldKind::None) => return,
        (HoldKind::Held(guard), HoldKind::Busy(_)) => guard,
        (HoldKind::Held(_), HoldKind::Held(_)) => step.fail("two handles have it at the same time"),
        (HoldKind::Busy(_), _) => step.fail("it was busy although nobody had it"),
        (HoldKind::None, _) | (_, HoldKind::None) => {
            step.fail("one handle supports holds and another doesn't")
        }
    };
    drop(guard);
    for _ in 0..100 {
        if let HoldKind::Held(_) = step.try_hold(&two).await.into_kind() {
            return;
        }
        pause().await;
    }
    step.fail("it was still busy 5 s after it was dropped")
}

pub(super) async fn other_names(step: Step, one: &impl TokenStore, two: &impl TokenStore) {
    let record = content("of the first name");
    let version = step.write(one, None, &record).await;
    if step.try_load(two).await.is_some() {
        step.fail("two names that differ only in the last character share a record");
    }
    step.write(two, None, &content("of the second name")).await;
    let loaded = step.assert_content(one, &record, "a write to one name changed another").await;
    step.assert(*loaded.version() == version, "a write to one name changed the version of another");
}

pub(super) async fn errors(step: Step, store: &impl TokenStore) {
    step.write(store, None, &content("a")).await;
    // No session does this. It is meant to make the store fail.
    match store.swap(Some(&Version::new("no version of this store")), &content("b")).await {
        Ok(Swap::Conflict) => {}
        Ok(Swap::Written(_)) => step.fail("a swap of a version that never existed was written"),
        Err(error) => {
            describe(&error);
        }
    }
}
