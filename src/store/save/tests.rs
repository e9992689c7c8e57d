//! What becomes of a token that was obtained, as tables: each row changes one thing.

use super::*;
use crate::store::{
    MemoryStore,
    tests::{
        attach, claim, document, held, known, others, protocol, record, shown, spoil, store, token, unsaved,
        written,
    },
};

/// What a save is given.
struct Case {
    document: Option<Document>,
    known: Known,
    obtained: UnsavedToken,
}

/// A case, how it differs from the first one, and what is to be done.
type Row = (&'static str, fn(&mut Case), &'static str);

impl Case {
    /// Token 3000 was presented under claim 4000 of this process, and the response was token 4000.
    fn new() -> Self {
        let document = Document { claims: 4000, claim: claim("me"), ..document() };
        Self { document: Some(document), known: known(), obtained: unsaved() }
    }

    /// The claim is gone.
    fn late() -> Self {
        let mut case = Self::new();
        case.record().claim = None;
        case
    }

    fn record(&mut self) -> &mut Document {
        self.document.as_mut().unwrap()
    }

    /// The record's token and its number.
    fn with(&mut self, by: u64, spec: &str) -> &mut Self {
        (self.record().by, self.record().token) = (by, Some(token(spec)));
        self
    }

    /// The known token and its number.
    fn knows(&mut self, by: u64, spec: &str) -> &mut Self {
        (self.known.by, self.known.token) = (by, Some(token(spec)));
        self
    }
}

fn check(new: fn() -> Case, rows: &[Row]) {
    let protocol = protocol(MemoryStore::new(), Known::default());
    for (name, change, expected) in rows {
        let mut case = new();
        change(&mut case);
        let shown = match protocol.save_into(case.document.as_ref(), &case.known, &case.obtained) {
            Edit::Leave(outcome) => outcome_of(&outcome, None),
            Edit::Write(document, outcome) => {
                format!("{}: {}", outcome_of(&outcome, Some(&document)), written(&document))
            }
        };
        assert_eq!(shown, *expected, "{name}");
    }
}

/// The outcome, which must agree with the document that is to be written.
fn outcome_of(outcome: &SaveOutcome, document: Option<&Document>) -> String {
    let (name, is_late) = match outcome {
        SaveOutcome::Written { by, token, is_late } => {
            let document = document.unwrap();
            assert_eq!((*by, held(Some(token))), (document.by, held(document.token.as_ref())));
            ("written", is_late)
        }
        SaveOutcome::Overtaken { document: later, is_late } => {
            if let Some(document) = document {
                assert_eq!(written(later), written(document));
            }
            ("overtaken", is_late)
        }
        SaveOutcome::OtherSignIn => return "other sign-in".to_owned(),
    };
    format!("{name}{}", if *is_late { " late" } else { "" })
}

#[test]
fn p19_a_token_replaces_the_one_that_was_presented() {
    let rows: &[Row] = &[
        ("as it was", |_| {}, "written: 7 after [5, 6], 4000 of 4000, app, A4 R4"),
        ("a later claim", |c| c.record().claims = 4500, "written: 7 after [5, 6], 4000 of 4500, app, A4 R4"),
        ("no such claim", |c| c.record().claims = 3500, "written: 7 after [5, 6], 4000 of 4000, app, A4 R4"),
        ("to be cleared", |c| spoil(c.record()), "written: 7 after [5, 6], 4000 of 4000, app, A4 R4"),
        (
            "the same refresh token",
            |c| c.obtained.token = token("A4 R3"),
            "written: 7 after [5, 6], 4000 of 4000, app, A4 R3",
        ),
        (
            "a lower number",
            |c| _ = c.with(3500, "A5 R5"),
            "written: 7 after [5, 6], 4000 of 4000, app, A4 R4",
        ),
        (
            "another's claim",
            |c| c.record().claim = claim("other"),
            "written late: 7 after [5, 6], 4000 of 4000, app, A4 R4, claimed",
        ),
        ("no claim", |c| c.record().claim = None, "written late: 7 after [5, 6], 4000 of 4000, app, A4 R4"),
        (
            "unknown members",
            |c| c.record().token.as_mut().unwrap().others = others("x"),
            "written: 7 after [5, 6], 4000 of 4000, app, A4 R4 x",
        ),
        (
            "unknown members of its own",
            |c| {
                c.record().token.as_mut().unwrap().others = others("x");
                c.obtained.token.others = others("y");
            },
            "written: 7 after [5, 6], 4000 of 4000, app, A4 R4 y",
        ),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_token_does_not_replace_a_later_one() {
    let rows: &[Row] = &[
        ("later", |c| _ = c.with(5000, "A5 R5"), "overtaken: 7 after [5, 6], 5000 of 4000, app, A5 R5"),
        (
            "the same number",
            |c| _ = c.with(4000, "A5 R5"),
            "overtaken: 7 after [5, 6], 4000 of 4000, app, A5 R5",
        ),
        (
            "the token itself",
            |c| _ = c.with(3500, "A4 R4"),
            "overtaken: 7 after [5, 6], 3500 of 4000, app, A4 R4",
        ),
        (
            "its outcome is unknown",
            |c| c.with(5000, "A5 R5").record().unknown = true,
            "overtaken: 7 after [5, 6], 5000 of 4000, app, A5 R5, unknown",
        ),
        ("another's claim", |c| c.with(5000, "A5 R5").record().claim = claim("other"), "overtaken late"),
        ("no claim", |c| c.with(5000, "A5 R5").record().claim = None, "overtaken late"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_an_access_token_that_was_set_during_an_exchange_remains() {
    let rows: &[Row] = &[
        ("set", |c| _ = c.with(3001, "A9 R3"), "written: 7 after [5, 6], 4000 of 4000, app, A9 R4"),
        ("set often", |c| _ = c.with(4000, "A9 R3"), "written: 7 after [5, 6], 4001 of 4001, app, A9 R4"),
        (
            "no access token",
            |c| _ = c.with(3001, "- R3"),
            "written: 7 after [5, 6], 4000 of 4000, app, A4 R4",
        ),
        (
            "refresh tokens that expire",
            |c| c.with(3001, "A9 R3 30").obtained.token = token("A4 R4 60"),
            "written: 7 after [5, 6], 4000 of 4000, app, A9 R4 60",
        ),
        (
            "a cache",
            |c| {
                c.with(3001, "A9 -");
                (c.obtained.presented, c.obtained.token) = (None, token("A4 -"));
            },
            "written: 7 after [5, 6], 4000 of 4000, app, A9 -",
        ),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_token_of_another_sign_in_is_written_only_if_the_record_went_back() {
    let rows: &[Row] = &[
        ("a later sign-in", |c| c.record().epoch = 9, "other sign-in"),
        (
            "an earlier one",
            |c| c.record().epoch = 5,
            "written late: 7 after [5, 6], 4000 of 4000, app, A4 R4",
        ),
        (
            "and a later token here",
            |c| c.knows(6000, "A6 R6").record().epoch = 5,
            "written late: 7 after [5, 6], 6000 of 6000, app, A4 R4",
        ),
        (
            "and more claims there",
            |c| (c.record().epoch, c.record().claims) = (5, 9000),
            "written late: 7 after [5, 6], 4000 of 9000, app, A4 R4",
        ),
        (
            "and few claims there",
            |c| (c.record().epoch, c.record().claims) = (5, 10),
            "written late: 7 after [5, 6], 4000 of 4000, app, A4 R4",
        ),
        (
            "and another sign-in here",
            |c| (c.record().epoch, c.known.epoch, c.known.was) = (5, Some(9), vec![5, 6, 7]),
            "other sign-in",
        ),
        ("and none here", |c| (c.record().epoch, c.known.epoch) = (5, None), "other sign-in"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_record_that_was_deleted_is_made_again_only_for_a_cache() {
    let rows: &[Row] = &[
        ("a refresh token", |c| c.document = None, "other sign-in"),
        (
            "none",
            |c| (c.document, c.obtained.token) = (None, token("A4 -")),
            "written late: 7 after [], 4000 of 4000, -, A4 -",
        ),
    ];
    check(Case::new, rows);
}

#[tokio::test(start_paused = true)]
async fn p19_what_was_saved_is_known_unless_something_later_is() {
    let rows: &[Row] = &[
        ("saved", |_| {}, "written late: 7, 4000 A4 R4"),
        ("a later one known", |c| _ = c.knows(5000, "A5 R5"), "written late: 7, 5000 A5 R5"),
        ("the number known", |c| _ = c.knows(4000, "A5 R5"), "written late: 7, 4000 A4 R4"),
        ("no sign-in known", |c| c.knows(5000, "A5 R5").known.epoch = None, "written late: 7, 4000 A4 R4"),
        ("another known", |c| c.knows(5000, "B5 Q5").known.epoch = Some(9), "other sign-in: 9, 5000 B5 Q5"),
        ("overtaken", |c| _ = c.with(5000, "A5 R5"), "overtaken late: 7, 5000 A5 R5"),
        (
            "overtaken, a later one known",
            |c| _ = c.with(5000, "A5 R5").knows(6000, "A6 R6"),
            "overtaken late: 7, 6000 A6 R6",
        ),
        (
            "overtaken, the number known",
            |c| _ = c.with(5000, "A5 R5").knows(5000, "A6 R6"),
            "overtaken late: 7, 5000 A5 R5",
        ),
        ("unsaved before", |c| c.known.unsaved = Some(unsaved()), "written late: 7, 4000 A4 R4"),
        (
            "a later one unsaved",
            |c| c.known.unsaved = Some(UnsavedToken { number: 4001, ..unsaved() }),
            "written late: 7, 4000 A4 R4, 4001 unsaved",
        ),
    ];
    for (name, change, expected) in rows {
        let mut case = Case::late();
        change(&mut case);
        let protocol = protocol(store(case.document.as_ref()).await, case.known);
        let saved = protocol.save(&case.obtained, None).await.unwrap();
        let document = protocol.load().await.unwrap().document;
        let outcome = outcome_of(&saved, document.as_ref());
        assert_eq!(format!("{outcome}: {}", shown(&protocol.known())), *expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_save_follows_another_sign_in_unless_the_process_is_there() {
    let rows: &[Row] = &[
        ("another", |c| c.record().epoch = 9, "1: 9, 3000 A3 R3"),
        ("followed", |c| (c.record().epoch, c.known.epoch) = (9, Some(9)), "0: 9, 3000 A3 R3"),
        (
            "and it went back",
            |c| (c.record().epoch, c.known.epoch, c.known.was) = (9, Some(11), vec![9]),
            "0: 11, 3000 A3 R3",
        ),
        ("a third", |c| (c.record().epoch, c.known.epoch) = (9, Some(11)), "1: 9, 3000 A3 R3"),
        ("deleted", |c| c.document = None, "1: -, 3000 nothing"),
        ("followed, and deleted", |c| (c.document, c.known.epoch) = (None, Some(9)), "0: 9, 3000 A3 R3"),
    ];
    for (name, change, expected) in rows {
        let mut case = Case::late();
        change(&mut case);
        let protocol = protocol(store(case.document.as_ref()).await, case.known);
        let before = record(&protocol).await;
        let _session = attach(&protocol, |builder| builder);
        let saved = protocol.save(&case.obtained, None).await.unwrap();
        assert_eq!(outcome_of(&saved, None), "other sign-in", "{name}");
        assert_eq!(record(&protocol).await, before, "{name}");
        let known = protocol.known();
        assert_eq!(format!("{}: {}", known.sign_ins, shown(&known)), *expected, "{name}");
    }
}

#[test]
fn p19_a_token_that_could_not_be_saved_is_kept_unless_something_later_is_known() {
    let kept = "7, 4000 A4 R4, 4000 unsaved";
    let rows: &[Row] = &[
        ("the presented one", |_| {}, kept),
        ("the same number", |c| _ = c.knows(4000, "A5 R5"), kept),
        ("a later one", |c| _ = c.knows(4001, "A5 R5"), "7, 4001 A5 R5"),
        ("another sign-in", |c| c.known.epoch = Some(9), "9, 3000 A3 R3"),
        ("no record yet", |c| c.known.epoch = None, kept),
        ("the record is gone", |c| (c.known.epoch, c.known.is_gone) = (None, true), "-, 3000 A3 R3"),
    ];
    for (name, change, expected) in rows {
        let mut case = Case::new();
        change(&mut case);
        let protocol = protocol(MemoryStore::new(), case.known);
        protocol.keep_unsaved(case.obtained);
        assert_eq!(shown(&protocol.known()), *expected, "{name}");
    }
}

#[test]
fn p19_a_token_of_the_record_is_adopted_if_it_has_an_access_token() {
    for (spec, expected) in [("A3 R3", Some("A3")), ("A3 -", Some("A3")), ("- R3", None)] {
        let adopted = adopted(&token(spec));
        assert_eq!(adopted.as_ref().map(Token::access_token), expected, "{spec}");
    }
}
