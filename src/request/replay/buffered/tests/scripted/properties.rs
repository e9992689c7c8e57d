//! Random bodies, refused at random points.

use proptest::prelude::*;

use super::super::super::*;
use super::*;

#[derive(Clone, Debug)]
enum Part {
    Chunk(usize),
    Wait,
    Trailers,
    Fail,
}

#[derive(Clone, Debug)]
struct Case {
    parts: Vec<Part>,
    declared: bool,
    knows_its_end: bool,
    limit: usize,
    /// The answer comes after so many polls of the first sending.
    answer: usize,
    /// It comes in the middle of a poll.
    in_mid_poll: bool,
    /// Who uploads polls once more before the second sending begins.
    again_first: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let part = prop_oneof![
        6 => (0..40_usize).prop_map(Part::Chunk),
        3 => Just(Part::Wait),
        1 => Just(Part::Fail),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (prop::collection::vec(part, 0..8), prop::bool::weighted(0.3), 0..200_usize, 0..12_usize, flags).prop_map(
        |(mut parts, trailers, limit, answer, (declared, knows_its_end, in_mid_poll, again_first))| {
            if trailers {
                parts.push(Part::Trailers);
            }
            Case { parts, declared, knows_its_end, limit, answer, in_mid_poll, again_first }
        },
    )
}

fn steps(parts: &[Part]) -> Vec<Step> {
    let step = |(index, part): (usize, &Part)| match part {
        Part::Chunk(len) => Step::Data(Bytes::from(vec![b'A' + index as u8; *len])),
        Part::Wait => Step::Wait,
        Part::Trailers => Step::Trailers(trailers()),
        Part::Fail => Step::Fail("gone"),
    };
    parts.iter().enumerate().map(step).collect()
}

/// What the original would give to one who read all of it.
fn whole(parts: &[Part]) -> Vec<String> {
    let mut told = Vec::new();
    let mut body = task::spawn(Scripted::new(steps(parts)));
    loop {
        match tell(body.enter(|cx, body| body.poll_frame(cx))) {
            frame if frame == "pending" => {}
            frame if frame == "end" => return told,
            frame => told.push(frame),
        }
    }
}

/// What is said of the rest is true of what comes.
fn check_hints(hint: &SizeHint, end: bool, rest: &[String]) {
    let fails = rest.iter().any(|frame| frame.starts_with("error"));
    let len: usize = rest.iter().filter(|frame| !frame.starts_with(['e', '{'])).map(String::len).sum();
    assert!(fails || hint.lower() <= len as u64, "{hint:?} {rest:?}");
    assert!(fails || hint.upper().is_none_or(|upper| upper >= len as u64), "{hint:?} {rest:?}");
    assert!(!end || rest.is_empty(), "{rest:?}");
}

fn run(case: &Case) {
    let whole = whole(&case.parts);
    let slot = Arc::new(Mutex::new(None));
    let mut steps: VecDeque<_> = steps(&case.parts).into();
    let at = case.answer.min(steps.len());
    if case.in_mid_poll {
        let slot = Arc::clone(&slot);
        steps.insert(
            at,
            Step::Meanwhile(Box::new(move || {
                let kept = slot.lock().unwrap().take();
                *slot.lock().unwrap() = end(kept);
            })),
        );
    }
    let body =
        Scripted { declared: case.declared, knows_its_end: case.knows_its_end, ..Scripted::new(steps) };
    let (mut first, kept) = keep(case.limit, body);
    *slot.lock().unwrap() = kept;

    // The first sending, until the answer comes: nothing of it is changed, reordered or delayed.
    let mut sent = Vec::new();
    let polls = if case.in_mid_poll { at + 1 } else { at };
    for index in 0..polls {
        if first.is_end_stream() {
            break;
        }
        let is_last = case.in_mid_poll && index == at;
        match poll(&mut first) {
            frame if frame == "pending" => {}
            frame if is_last => assert_ne!(frame, "pending"),
            frame if frame == "end" => break,
            frame => {
                let stop = frame.starts_with("error");
                sent.push(frame);
                if stop {
                    break;
                }
            }
        }
    }
    assert_eq!(sent, whole[..sent.len()]);
    let failed = sent.last().is_some_and(|frame| frame.starts_with("error"));
    let kept_bytes: usize = sent.iter().filter(|frame| !frame.starts_with(['e', '{'])).map(String::len).sum();

    let mut kept = slot.lock().unwrap().take();
    // It may not have come so far.
    if kept.as_ref().is_some_and(|kept| !lock(&kept.shared).ended) {
        kept = end(kept);
    }
    let Some(kept) = kept else {
        assert!(failed || kept_bytes > case.limit, "it could have been sent again: {case:?}");
        return;
    };
    assert!(!failed && kept_bytes <= case.limit, "it can't be sent again: {case:?}");
    if case.again_first {
        assert!(matches!(&*poll(&mut first), "end" | "ended"));
    }
    let mut second = again(Some(kept));
    let mut rest = whole.as_slice();
    for _ in 0..100 {
        check_hints(&second.size_hint(), second.is_end_stream(), rest);
        match poll(&mut second) {
            frame if frame == "pending" => {}
            frame if frame == "end" => break,
            frame => {
                assert_eq!(Some(&frame), rest.first(), "{case:?}");
                rest = &rest[1..];
                if frame.starts_with("error") {
                    break;
                }
            }
        }
    }
    assert!(rest.is_empty(), "half a body: {rest:?} is missing of {whole:?}");
    assert!(matches!(&*poll(&mut first), "end" | "ended"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The second sending is byte for byte the first, or there is none.
    #[test]
    fn p16_a_replay_is_the_same_body_or_none(case in case()) {
        run(&case);
    }
}
