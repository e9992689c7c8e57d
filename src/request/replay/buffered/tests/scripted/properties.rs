//! Random bodies, rejected at random points.

use proptest::prelude::*;

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
    has_declared_length: bool,
    announces_end: bool,
    limit: usize,
    /// The rejection comes after this many polls of the first attempt.
    rejected_after: usize,
    /// It comes during a poll.
    during_a_poll: bool,
    /// The first attempt is polled once more before the replay begins.
    polls_stopped: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let part = prop_oneof![
        6 => (0..40_usize).prop_map(Part::Chunk),
        3 => Just(Part::Wait),
        1 => Just(Part::Fail),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (prop::collection::vec(part, 0..8), prop::bool::weighted(0.3), 0..1500_usize, 0..12_usize, flags)
        .prop_map(
            |(
                mut parts,
                trailers,
                limit,
                rejected_after,
                (has_declared_length, announces_end, during_a_poll, polls_stopped),
            )| {
                if trailers {
                    parts.push(Part::Trailers);
                }
                Case {
                    parts,
                    has_declared_length,
                    announces_end,
                    limit,
                    rejected_after,
                    during_a_poll,
                    polls_stopped,
                }
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

/// Everything that the original yields.
fn whole(parts: &[Part]) -> Vec<String> {
    let mut frames = Vec::new();
    let mut body = task::spawn(Scripted::new(steps(parts)));
    loop {
        match describe(body.enter(|cx, body| body.poll_frame(cx))) {
            frame if frame == "pending" => {}
            frame if frame == "end" => return frames,
            frame => frames.push(frame),
        }
    }
}

/// Checks a size hint and an end against the frames that follow.
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
    let at = case.rejected_after.min(steps.len());
    if case.during_a_poll {
        let slot = Arc::clone(&slot);
        steps.insert(
            at,
            Step::Run(Box::new(move || {
                let retained = slot.lock().unwrap().take();
                *slot.lock().unwrap() = stop(retained);
            })),
        );
    }
    let body = Scripted {
        has_declared_length: case.has_declared_length,
        announces_end: case.announces_end,
        ..Scripted::new(steps)
    };
    let (mut first, retained) = split(case.limit, body);
    *slot.lock().unwrap() = retained;

    // Until the rejection the first attempt sends the original's frames unchanged.
    let mut sent = Vec::new();
    let polls = if case.during_a_poll { at + 1 } else { at };
    for index in 0..polls {
        if first.is_end_stream() {
            break;
        }
        let is_last = case.during_a_poll && index == at;
        match poll(&mut first) {
            frame if frame == "pending" => {}
            frame if is_last => assert_ne!(frame, "pending"),
            frame if frame == "end" => break,
            frame => {
                let is_error = frame.starts_with("error");
                sent.push(frame);
                if is_error {
                    break;
                }
            }
        }
    }
    assert_eq!(sent, whole[..sent.len()]);
    let failed = sent.last().is_some_and(|frame| frame.starts_with("error"));
    let cost = |frame: &String| match frame.len() {
        0 => 0,
        _ if frame.starts_with('{') => FRAME + size_of::<(http::HeaderName, http::HeaderValue)>() + 6,
        len => FRAME + len,
    };
    let sent_size: usize = sent.iter().filter(|frame| !frame.starts_with('e')).map(cost).sum();

    let mut retained = slot.lock().unwrap().take();
    // The first attempt may have ended before the step that stops it.
    if retained.as_ref().is_some_and(|retained| lock(&retained.state).stopped.is_none()) {
        retained = stop(retained);
    }
    let Some(retained) = retained else {
        assert!(failed || sent_size > case.limit, "it could have been replayed: {case:?}");
        return;
    };
    assert!(!failed && sent_size <= case.limit, "it must not be replayed: {case:?}");
    if case.polls_stopped {
        assert!(matches!(&*poll(&mut first), "end" | "aborted"));
    }
    let mut second = replay(Some(retained));
    // Empty frames of the first attempt aren't retained.
    let again = sent.iter().filter(|frame| !frame.is_empty());
    let whole: Vec<_> = again.chain(&whole[sent.len()..]).cloned().collect();
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
    assert!(rest.is_empty(), "incomplete body: {rest:?} is missing of {whole:?}");
    assert!(matches!(&*poll(&mut first), "end" | "aborted"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p16_a_body_is_replayed_byte_by_byte_or_not_at_all(case in case()) {
        run(&case);
    }
}
