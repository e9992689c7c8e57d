//! What becomes of sign-ins, sign-outs and tokens that are set, as tables: each row changes one thing.

mod sessions;
mod sign_ins;

use std::sync::Mutex;

use super::*;
use crate::store::{
    Loaded, MemoryStore, Record, Swap, TokenStore, Version,
    tests::{
        claim, document, held, known, others, protocol, record, secret, shown, spoil, store, token, written,
    },
};

/// What a write is given.
struct Case {
    document: Option<Document>,
    known: Known,
    token: Option<&'static str>,
    change: Option<u64>,
}

/// A case, how it differs from the first one, and what becomes of the record.
type Row = (&'static str, fn(&mut Case), &'static str);

impl Case {
    /// Record and process have token 3000 of sign-in 7.
    fn new() -> Self {
        Self { document: Some(document()), known: known(), token: Some("A9 R9"), change: None }
    }

    /// A change of the session.
    fn of_session() -> Self {
        Self { change: Some(2), ..Self::new() }
    }

    fn record(&mut self) -> &mut Document {
        self.document.as_mut().unwrap()
    }

    /// The record's token and its number.
    fn with(&mut self, by: u64, spec: &str) -> &mut Self {
        (self.record().by, self.record().token) = (by, Some(token(spec)));
        self
    }

    /// The process has chosen epoch 8 for this change.
    fn own(&mut self, change: Option<u64>) -> &mut Self {
        self.known.own_epochs.push(OwnEpoch { epoch: 8, change, refresh_token: None });
        self
    }

    async fn protocol(self) -> Protocol {
        protocol(store(self.document.as_ref()).await, self.known)
    }
}

fn new_token(spec: &str) -> Token {
    let (access, refresh) = spec.split_once(' ').unwrap();
    Token::builder(access).refresh_token(Some(refresh).filter(|word| *word != "-")).build().unwrap()
}

/// The outcome, which must agree with the record.
async fn outcome(protocol: &Protocol, outcome: &WriteOutcome) -> String {
    let record = record(protocol).await;
    match outcome {
        WriteOutcome::Done(document) => {
            assert_eq!(written(document), record);
            record
        }
        WriteOutcome::Found(document) => {
            assert_eq!(written(document), record);
            "found".to_owned()
        }
        WriteOutcome::Replaced => "replaced".to_owned(),
        WriteOutcome::OtherSignIn(other) => {
            assert_eq!(other.as_deref().map_or("no record".to_owned(), written), record);
            "other sign-in".to_owned()
        }
    }
}

async fn check_set(new: fn() -> Case, rows: &[Row]) {
    for (name, change, expected) in rows {
        let mut case = new();
        change(&mut case);
        let token = new_token(case.token.unwrap());
        let protocol = case.protocol().await;
        let guard = protocol.lock_writes().await.unwrap();
        let done = protocol.write_token(&guard, &token, token.refresh_secret()).await.unwrap();
        assert_eq!(outcome(&protocol, &done).await, *expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_token_that_is_set_keeps_the_sign_in() {
    fn cleared() -> Case {
        let mut case = Case::new();
        spoil(case.record());
        case.record().claim = claim("other");
        case
    }
    let rows: &[Row] = &[
        ("its own refresh token", |_| {}, "7 after [5, 6], 4500 of 4500, app, A9 R9, claimed"),
        (
            "the record's",
            |c| c.token = Some("A9 R3"),
            "7 after [5, 6], 3001 of 3500, app, A9 R3, unknown, claimed",
        ),
        ("none", |c| c.token = Some("A9 -"), "7 after [5, 6], 3001 of 3500, app, A9 R3, unknown, claimed"),
        (
            "none, nothing to clear",
            |c| (c.document, c.token) = (Some(document()), Some("A9 -")),
            "7 after [5, 6], 3001 of 3500, app, A9 R3",
        ),
        (
            "none, few claims",
            |c| (c.record().claims, c.token) = (3000, Some("A9 -")),
            "7 after [5, 6], 3001 of 3001, app, A9 R3, unknown, claimed",
        ),
        (
            "none, the record's expires",
            |c| c.with(3000, "A3 R3 60").token = Some("A9 -"),
            "7 after [5, 6], 3001 of 3500, app, A9 R3 60, unknown, claimed",
        ),
        (
            "unknown members",
            |c| c.record().token.as_mut().unwrap().others = others("x"),
            "7 after [5, 6], 4500 of 4500, app, A9 R9 x, claimed",
        ),
        (
            "no token in the record",
            |c| (c.record().token, c.token) = (None, Some("A9 -")),
            "7 after [5, 6], 3001 of 3500, app, A9 -, unknown, claimed",
        ),
        (
            "no sign-in known",
            |c| c.known = Known::default(),
            "7 after [5, 6], 4500 of 4500, app, A9 R9, claimed",
        ),
        (
            "a later one in the record",
            |c| c.with(4000, "A4 R4").token = Some("A9 -"),
            "7 after [5, 6], 4001 of 4001, app, A9 R4, unknown, claimed",
        ),
        (
            "a later one here",
            |c| c.with(2000, "A2 R2").token = Some("A9 -"),
            "7 after [5, 6], 3001 of 3500, app, A9 R3",
        ),
        (
            "a later sign-in here",
            |c| (c.record().epoch, c.token) = (5, Some("A9 -")),
            "7 after [5, 6], 3001 of 3500, app, A9 R3",
        ),
    ];
    check_set(cleared, rows).await;
}

#[tokio::test(start_paused = true)]
async fn p19_a_token_is_not_set_for_another_sign_in() {
    let rows: &[Row] = &[
        ("another", |c| c.record().epoch = 9, "other sign-in"),
        ("signed out", |c| c.record().signed_out = true, "other sign-in"),
        ("signed out before", |c| (c.record().epoch, c.record().signed_out) = (5, true), "other sign-in"),
        ("a new record", |c| (c.known.epoch, c.known.is_gone) = (None, true), "other sign-in"),
        ("no record", |c| c.document = None, "other sign-in"),
        (
            "no record yet",
            |c| (c.document, c.known) = (None, Known::default()),
            "new after [], 1000 of 1000, -, A9 R9",
        ),
    ];
    check_set(Case::new, rows).await;
}

#[tokio::test(start_paused = true)]
async fn p19_a_refresh_token_is_set_again_only_in_the_same_record() {
    let done = "7 after [5, 6], 4500 of 4500, app, A9 R9, R9 at 3000";
    let rows: &[Row] = &[
        ("the first time", |_| {}, done),
        ("again", |c| c.known.set = Some((secret("R9").unwrap(), 3000)), done),
        (
            "and the record has changed",
            |c| c.known.set = Some((secret("R9").unwrap(), 2000)),
            "found, R9 at 2000",
        ),
        (
            "and there is another sign-in",
            |c| {
                c.record().epoch = 9;
                c.known.set = Some((secret("R9").unwrap(), 2000));
            },
            "other sign-in, R9 at 2000",
        ),
        ("another one", |c| c.known.set = Some((secret("R8").unwrap(), 2000)), done),
        (
            "none",
            |c| (c.token, c.known.set) = (Some("A9 -"), Some((secret("R9").unwrap(), 2000))),
            "7 after [5, 6], 3001 of 3500, app, A9 R3, R9 at 2000",
        ),
        (
            "no record",
            |c| (c.document, c.known) = (None, Known::default()),
            "new after [], 1000 of 1000, -, A9 R9, R9 at 0",
        ),
    ];
    for (name, change, expected) in rows {
        let mut case = Case::new();
        change(&mut case);
        let token = new_token(case.token.unwrap());
        let protocol = case.protocol().await;
        let guard = protocol.lock_writes().await.unwrap();
        let done = protocol.write_set_token(&guard, &token, token.refresh_secret()).await.unwrap();
        let known = protocol.known().set.clone();
        let set = known.map_or("-".to_owned(), |(set, by)| format!("{} at {by}", set.expose()));
        assert_eq!(format!("{}, {set}", outcome(&protocol, &done).await), *expected, "{name}");
    }
}

/// The response to the first write is lost, and another process writes this record right after it.
struct LossyStore {
    inner: MemoryStore,
    next: Mutex<Option<Record>>,
}

impl TokenStore for LossyStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        TokenStore::load(&self.inner).await
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let next = self.next.lock().unwrap().take();
        let Some(next) = next else { return TokenStore::swap(&self.inner, expected, record).await };
        let Swap::Written(version) = TokenStore::swap(&self.inner, expected, record).await? else {
            unreachable!()
        };
        TokenStore::swap(&self.inner, Some(&version), &next).await?;
        Err(StoreError::unavailable("lost"))
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_refresh_token_is_not_written_again_after_a_lost_response() {
    for (spec, expected) in [("A9 R9", None), ("A9 -", Some("7 after [5, 6], 5001 of 5001, app, A9 R5"))] {
        let next = Document { by: 5000, claims: 5000, token: Some(token("A5 R5")), ..document() };
        let next = Mutex::new(Some(next.to_record(0).unwrap()));
        let protocol = protocol(LossyStore { inner: store(Some(&document())).await, next }, known());
        let guard = protocol.lock_writes().await.unwrap();
        let token = new_token(spec);
        match protocol.write_token(&guard, &token, token.refresh_secret()).await {
            Ok(done) => assert_eq!(Some(&*outcome(&protocol, &done).await), expected, "{spec}"),
            Err(error) => assert_eq!((error.is_unknown(), None), (true, expected), "{spec}"),
        }
    }
}
