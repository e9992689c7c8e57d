//! What a sign-in or sign-out replaces, and its epoch.

use super::*;

async fn check_sign_in(new: fn() -> Case, rows: &[Row]) {
    for (name, change, expected) in rows {
        let mut case = new();
        change(&mut case);
        let (token, change) = (case.token.map(new_token), case.change);
        let protocol = case.protocol().await;
        let guard = protocol.lock_writes().await.unwrap();
        let (done, revocable) = protocol.write_sign_in(&guard, token.as_ref(), change).await.unwrap();
        if let WriteOutcome::Done(document) = &done {
            // So that it is recognized if the response to the write is lost.
            assert!(protocol.known().is_own_epoch(document.epoch), "{name}");
        }
        let revocable =
            [revocable.access_token(), revocable.refresh_token()].map(|token| token.unwrap_or("-"));
        let shown = format!("{} for {}", outcome(&protocol, &done).await, revocable.join(" "));
        assert_eq!(shown, *expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_sign_in_replaces_any_record() {
    let rows: &[Row] = &[
        ("as known", |_| {}, "new after [5, 6, 7], 4500 of 4500, app, A9 R9 for A3 R3"),
        (
            "a sign-out",
            |c| c.token = None,
            "new after [5, 6, 7], 4500 of 4500, app, nothing, signed out for A3 R3",
        ),
        ("a cache", |c| c.token = Some("A9 -"), "new after [5, 6, 7], 4500 of 4500, app, A9 - for A3 R3"),
        (
            "a later number here",
            |c| c.known.by = 5000,
            "new after [5, 6, 7], 6000 of 6000, app, A9 R9 for A3 R3",
        ),
        ("another", |c| c.record().epoch = 9, "new after [5, 6, 7, 9], 4500 of 4500, app, A9 R9 for A3 R3"),
        (
            "a claim and more",
            |c| {
                spoil(c.record());
                c.record().claim = claim("other");
            },
            "new after [5, 6, 7], 4500 of 4500, app, A9 R9 for A3 R3",
        ),
        ("none", |c| c.document = None, "new after [5, 6, 7], 4000 of 4000, -, A9 R9 for - -"),
        (
            "another's epoch",
            |c| _ = c.own(Some(1)),
            "new after [5, 6, 7], 4500 of 4500, app, A9 R9 for A3 R3",
        ),
    ];
    check_sign_in(Case::new, rows).await;
}

#[tokio::test(start_paused = true)]
async fn p19_a_change_does_not_replace_a_sign_in_that_came_after_it() {
    let done = "new after [5, 6, 7], 4500 of 4500, app, A9 R9 for A3 R3";
    let rows: &[Row] = &[
        ("the same", |_| {}, done),
        ("another", |c| c.record().epoch = 9, "other sign-in for - -"),
        ("an earlier one", |c| c.record().epoch = 5, done),
        (
            "one of this process",
            |c| c.own(None).record().epoch = 8,
            "new after [5, 6, 7, 8], 4500 of 4500, app, A9 R9 for A3 R3",
        ),
        (
            "none known",
            |c| (c.record().epoch, c.known.epoch) = (9, None),
            "new after [5, 6, 9], 4500 of 4500, app, A9 R9 for A3 R3",
        ),
        ("no record", |c| c.document = None, "new after [5, 6, 7], 4000 of 4000, -, A9 R9 for - -"),
        ("this change", |c| c.own(Some(2)).record().epoch = 8, "found for - -"),
        (
            "one after this change",
            |c| {
                (c.record().epoch, c.known.epoch) = (9, Some(9));
                c.own(Some(2)).record().was = vec![8];
            },
            "other sign-in for - -",
        ),
    ];
    check_sign_in(Case::of_session, rows).await;
}

#[test]
fn p19_a_change_has_one_epoch_until_it_is_written() {
    for (name, own, own_token, written_change, change, token, is_same) in [
        ("the same change", Some(5), "R1", 4, Some(5), "R2", true),
        ("the next one, with its token", Some(5), "R1", 4, Some(6), "R1", true),
        ("the next one, and it was written", Some(5), "R1", 5, Some(6), "R1", false),
        ("the next one, with another token", Some(5), "R1", 4, Some(6), "R2", false),
        ("sign-outs", Some(5), "-", 4, Some(6), "-", false),
        ("not of the session", Some(5), "R1", 4, None, "R1", false),
        ("earlier one not of the session", None, "R1", 4, Some(6), "R1", false),
        ("neither of the session", None, "R1", 4, None, "R1", false),
    ] {
        let own_epochs = vec![OwnEpoch { epoch: 8, change: own, refresh_token: secret(own_token) }];
        let protocol = protocol(MemoryStore::new(), Known { own_epochs, written_change, ..known() });
        let epoch = protocol.own_epoch(change, secret(token).as_ref());
        assert_eq!(epoch == 8, is_same, "{name}");
        let known = protocol.known();
        assert_eq!(known.own_epochs.len(), if is_same { 1 } else { 2 }, "{name}");
        assert!(known.is_own_epoch(epoch), "{name}");
    }
}

#[test]
fn p19_the_last_16_epochs_of_a_process_are_known() {
    let protocol = protocol(MemoryStore::new(), Known::default());
    let epochs: Vec<_> = (1..=20).map(|change| protocol.own_epoch(Some(change), None)).collect();
    let known: Vec<_> = protocol.known().own_epochs.iter().map(|own| own.epoch).collect();
    assert_eq!(known, epochs[4..]);
}
