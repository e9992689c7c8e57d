//! Random sequences of events, held against what must always be true.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{
    super::{held::Held, *},
    Harness, WALL, result,
};
use crate::{
    refresh::{RefreshError, RefreshReason},
    rt,
    session::machine::tests::scenario::{Given, Scenario, scenarios},
};

#[derive(Clone, Debug)]
enum Event {
    Pass(u32),
    Wall(i32),
    New,
    Asked,
    /// A rejection of a token that was given out: which one of them.
    Rejected(prop::sample::Index),
    Response {
        life: Option<u32>,
        rotates: bool,
        same: bool,
    },
    Fail(u8),
    Lose(u8),
    Late(u8),
    Set {
        own_refresh_token: bool,
    },
    SignIn,
    SignOut,
    RetryNow,
    ShutDown,
    Saved(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..200_u32).prop_map(Event::Pass),
        1 => (-4000..4000_i32).prop_map(Event::Wall),
        8 => Just(Event::New),
        1 => Just(Event::Asked),
        3 => any::<prop::sample::Index>().prop_map(Event::Rejected),
        5 => (prop::option::weighted(0.9, 0..700_u32), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(life, rotates, same)| Event::Response { life, rotates, same }),
        3 => (0..4_u8).prop_map(Event::Fail),
        1 => (0..4_u8).prop_map(Event::Lose),
        1 => any::<u8>().prop_map(Event::Late),
        1 => any::<bool>().prop_map(|own_refresh_token| Event::Set { own_refresh_token }),
        1 => Just(Event::SignIn),
        1 => Just(Event::SignOut),
        1 => Just(Event::RetryNow),
        1 => prop::bool::weighted(0.05).prop_map(|ends| if ends { Event::ShutDown } else { Event::New }),
        2 => any::<bool>().prop_map(Event::Saved),
    ]
}

/// A plain model beside the machine: what was asked, given out and taken away.
struct Model {
    machine: Machine,
    now: Timestamp,
    flights: Vec<(FlightInfo, Option<Token>)>,
    saving: Option<u64>,
    given: Vec<AccessToken>,
    names: u32,
    generation: u64,
    sign_in: u64,
    signed_out: bool,
    /// Refresh tokens whose successor arrived, for this sign-in.
    spent: Vec<String>,
    /// When nobody may be asked again, unless something permits it.
    not_before: Option<Timestamp>,
    shut_down: bool,
}

impl Model {
    fn new() -> Self {
        let rules = Rules {
            early: true,
            window: None,
            margin: None,
            jitter: false,
            refresh_timeout: 60_000_000_000,
            save_timeout: 5_000_000_000,
            delays: Delays { initial: 1_000_000_000, max: 120_000_000_000, jitter: false },
            saves: true,
        };
        let now = Timestamp { wall: WALL, monotonic: 0 };
        let mut machine = Machine::new(rules, Some(1));
        machine.start_with_refresh_token(None);
        Self {
            machine,
            now,
            flights: Vec::new(),
            saving: None,
            given: Vec::new(),
            names: 0,
            generation: 0,
            sign_in: 1,
            signed_out: false,
            spent: Vec::new(),
            not_before: None,
            shut_down: false,
        }
    }

    fn token(&mut self, life: Option<u32>, refresh: bool) -> Token {
        self.names += 1;
        let mut builder = Token::builder(format!("A{}", self.names));
        if refresh {
            builder = builder.refresh_token(format!("R{}", self.names));
        }
        if let Some(life) = life {
            builder = builder.expires_in(std::time::Duration::from_secs(life.into()));
        }
        builder.build().unwrap()
    }

    fn demand(&mut self, demand: Demand) {
        let mut effects = Effects::default();
        let decision = self.machine.turn(self.now, 0, &mut effects).demand(demand, true, true);
        if let Ok(Decision::Use(token)) = &decision {
            assert!(!self.signed_out, "a signed-out session gave a token");
            assert_eq!(token.id().epoch.sign_in.get(), self.sign_in, "a token of another sign-in");
            if let Demand::Rejected(id) = demand {
                assert!(token.generation() > id.epoch.generation, "the rejected token again");
            }
            self.given.push(token.clone());
        }
        if let Ok(Decision::Wait(wait)) = &decision {
            let flight = self.machine.flights.current.as_ref().expect("a waiter waits for a flight");
            assert_eq!(flight.info.id, wait.flight);
        }
        self.after(effects);
    }

    fn after(&mut self, mut effects: Effects) {
        if let Some(start) = effects.start.take() {
            let (info, cx) = *start;
            assert!(!self.shut_down, "a flight began after the shutdown");
            assert!(!self.signed_out);
            if let Some(refresh_token) = cx.refresh_token() {
                assert!(!self.spent.iter().any(|spent| spent == refresh_token), "{refresh_token} is spent");
            }
            if let Some(not_before) = self.not_before.take() {
                assert!(self.now.since(not_before) >= 0, "asked before the backoff's end");
            }
            self.flights.push((info, None));
        }
        if let Some(order) = effects.save.take() {
            assert!(self.saving.is_none(), "two saves at once");
            self.saving = Some(order.version);
        }
        for (flight, _) in &effects.ended {
            // An abandoned flight's task is still there, and may answer late.
            let running = self.machine.flights.current.as_ref().map(|flight| flight.info.id);
            assert_ne!(running, Some(*flight), "a flight that has landed still runs");
        }
        for _ in &effects.revoke {
            self.machine.turn(self.now, 0, &mut Effects::default()).revocation_ended(Ok(()));
        }
        if let Some(snapshot) = self.machine.snapshot(self.now) {
            assert!(snapshot.valid_until.monotonic > self.now.monotonic && !self.signed_out);
            assert_eq!(snapshot.token.id().epoch.sign_in.get(), self.sign_in);
        }
        assert!(self.machine.epoch.generation >= self.generation, "generations only go up");
        self.generation = self.machine.epoch.generation;
    }

    /// The current flight lands, or with `late` one that was abandoned.
    fn land(&mut self, landing: impl FnOnce(&mut Self, &FlightInfo) -> FlightEnd, late: bool) {
        let running = self.machine.flights.current.as_ref().map(|flight| flight.info.id);
        let Some(at) = self.flights.iter().position(|(info, _)| (Some(info.id) != running) == late) else {
            return;
        };
        let (info, answer) = self.flights.remove(at);
        let landing = match answer {
            Some(answer) => FlightEnd::Response(answer.clone(), Save::Tried(answer, result(false))),
            None => landing(self, &info),
        };
        let ours = info.epoch.sign_in.get() == self.sign_in && self.refresh_token() == info.presented;
        let had_brought = self.machine.flights.has_successor();
        let before = self.machine.epoch.generation;
        let brought = match &landing {
            FlightEnd::Response(token, _) => token.refresh_secret().cloned(),
            _ => None,
        };
        let mut effects = Effects::default();
        self.machine.turn(self.now, 0, &mut effects).land(&info, landing);
        if !ours {
            assert_eq!(
                self.machine.epoch.generation, before,
                "a result that is not wanted changed the token"
            );
        } else if brought.is_some() && brought != info.presented && !(late && had_brought) {
            assert_eq!(self.refresh_token(), brought, "a rotated token was lost");
            self.spent.extend(info.presented.as_ref().map(|spent| spent.expose().to_owned()));
        }
        let left = self.machine.grant.as_ref().and_then(|grant| grant.backoff.time_left(self.now));
        // But for the end of a valid token, which is known to the machine alone, as is what a late answer changes.
        self.not_before =
            left.map(|left| Timestamp { wall: self.now.wall + left, monotonic: self.now.monotonic + left });
        self.after(effects);
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Pass(seconds) => {
                let nanos = Nanos::from(seconds) * 1_000_000_000;
                self.now.wall += nanos;
                self.now.monotonic += nanos;
                self.end_overdue_save(nanos);
            }
            Event::Wall(seconds) => {
                let nanos = Nanos::from(seconds) * 1_000_000_000;
                self.now.wall += nanos;
                self.not_before = None;
                self.end_overdue_save(nanos);
            }
            Event::New => self.demand(Demand::New),
            Event::Asked => self.demand(Demand::Requested),
            Event::Rejected(index) => {
                if !self.given.is_empty() {
                    let id = index.get(&self.given).id();
                    if id.epoch.sign_in.get() == self.sign_in && id.epoch.generation == self.generation {
                        self.not_before = None;
                    }
                    self.demand(Demand::Rejected(id));
                }
            }
            Event::Response { life, rotates, same } => self.respond(life, rotates, same),
            Event::Fail(kind) => self.fail(kind),
            Event::Lose(how) => {
                let lost =
                    [Lost::TimedOut, Lost::Panicked, Lost::Dropped, Lost::NeverPolled][usize::from(how)];
                self.land(|_, _| FlightEnd::Lost(lost), false);
            }
            Event::Late(seed) => self.land(
                |model, _| match seed % 3 {
                    0 => FlightEnd::Failed(RefreshError::grant_ended("late")),
                    rotates => {
                        let token = model.token(Some(600), rotates == 1);
                        FlightEnd::Response(token, Save::NotTried)
                    }
                },
                true,
            ),
            Event::Set { own_refresh_token } => {
                let token = self.token(Some(600), own_refresh_token);
                let mut effects = Effects::default();
                assert_eq!(self.machine.turn(self.now, 0, &mut effects).set(token).is_err(), self.signed_out);
                self.not_before = None;
                self.after(effects);
            }
            Event::SignIn => {
                let token = self.token(Some(600), true);
                let mut effects = Effects::default();
                self.machine.turn(self.now, 0, &mut effects).sign_in(token);
                self.new_sign_in(false);
                self.after(effects);
            }
            Event::SignOut => {
                let mut effects = Effects::default();
                let _ = self.machine.turn(self.now, 0, &mut effects).sign_out();
                self.new_sign_in(true);
                self.after(effects);
                assert!(self.machine.grant.is_none());
            }
            Event::RetryNow => {
                let mut effects = Effects::default();
                self.machine.turn(self.now, 0, &mut effects).reset_backoff();
                self.not_before = None;
                self.after(effects);
            }
            Event::ShutDown => {
                let mut effects = Effects::default();
                self.machine.turn(self.now, 0, &mut effects).shut_down();
                self.shut_down = true;
                self.after(effects);
            }
            Event::Saved(ok) => {
                if let Some(version) = self.saving.take() {
                    let mut effects = Effects::default();
                    self.machine.turn(self.now, 0, &mut effects).save_ended(version, result(ok));
                    self.after(effects);
                }
            }
        }
    }

    /// A save has a limit of its own.
    fn end_overdue_save(&mut self, passed: Nanos) {
        if passed > 0 {
            self.apply(Event::Saved(false));
        }
    }

    fn new_sign_in(&mut self, signed_out: bool) {
        self.sign_in += 1;
        self.signed_out = signed_out;
        self.spent.clear();
        self.not_before = None;
        assert!(self.machine.grant.as_ref().is_none_or(|grant| grant.backoff.failures == 0));
    }

    fn respond(&mut self, life: Option<u32>, rotates: bool, same: bool) {
        let Some(flight) = &self.machine.flights.current else { return };
        let info = flight.info.clone();
        let mut token = self.token(life, rotates);
        match self.machine.grant.as_ref().and_then(|grant| grant.held.as_ref()) {
            Some(held) if same => token = Token::builder(held.token.access_token()).build().unwrap(),
            _ => {}
        }
        let mut effects = Effects::default();
        let saving = self.machine.turn(self.now, 0, &mut effects).on_response(&info, &token);
        self.after(effects);
        match saving {
            Saving::Now(order) => {
                assert!(self.saving.is_none(), "two saves at once");
                assert!(order.refresh_secret().is_some() || info.presented.is_none(), "carried over");
                self.land(|_, _| FlightEnd::Response(token, Save::Tried(*order, result(rotates))), false);
            }
            Saving::After => {
                let at = self.flights.iter().position(|(known, _)| known.id == info.id).unwrap();
                self.flights[at].1 = Some(token);
            }
            Saving::None => self.land(|_, _| FlightEnd::Response(token, Save::NotTried), false),
        }
    }

    fn refresh_token(&self) -> Option<Secret> {
        self.machine.grant.as_ref()?.refresh_token.clone()
    }

    fn fail(&mut self, kind: u8) {
        let Some(flight) = &self.machine.flights.current else { return };
        let info = flight.info.clone();
        let error = match kind {
            0 => RefreshError::transient("t").with_retry_after(std::time::Duration::from_secs(7)),
            1 => RefreshError::outcome_unknown("u"),
            2 => RefreshError::misconfigured("c"),
            _ => RefreshError::grant_ended("e"),
        };
        let mut effects = Effects::default();
        let again = self.machine.turn(self.now, 0, &mut effects).on_failure(&info, &error);
        match again {
            Some((again, cx)) => {
                assert!(error.is_outcome_unknown());
                assert_eq!(again.id, info.id);
                assert_eq!(cx.reason(), RefreshReason::Repeated);
            }
            None => self.land(|_, _| FlightEnd::Failed(error), false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// P01, P02, P05, P10 and P17 over any order of events.
    #[test]
    fn p01_p02_p05_p10_any_order_of_events_keeps_the_rules(events in prop::collection::vec(event(), 0..120)) {
        let mut model = Model::new();
        for event in events {
            model.apply(event);
        }
    }

    /// A token's edges are ordered and reachable, whatever the settings.
    #[test]
    fn b40_edges_are_ordered(
        life in prop::option::of(0..=rt::LONGEST),
        window in prop::option::of(0..=rt::LONGEST),
        margin in prop::option::of(0..=rt::LONGEST),
        luck in 0.0..1.0_f64,
        age in 0..=rt::LONGEST,
    ) {
        let mut harness = Harness::new(&given());
        harness.machine.rules.window = window;
        harness.machine.rules.margin = margin;
        let mut builder = Token::builder("A1");
        if let Some(life) = life {
            builder = builder.expires_in(rt::duration(life));
        }
        let start = harness.now;
        let held = Held::new(builder.build().unwrap(), start, start, true, &harness.machine.rules, luck);
        let later = Timestamp { wall: start.wall + age, monotonic: start.monotonic + age };
        let (left, left_fresh) = (held.time_left(start), held.time_until_stale(start));
        prop_assert!(left_fresh <= left);
        if let Some(life) = life {
            prop_assert!(left <= life && left >= life - life / 4, "the margin is at most a quarter");
            prop_assert!(left_fresh >= life / 4 - 1, "window and margin leave a quarter");
        }
        let phase = held.phase(later);
        prop_assert_eq!(phase == Phase::Expired, life.is_some() && age >= left);
        prop_assert_eq!(phase == Phase::Fresh, age < left_fresh || left_fresh == Nanos::MAX);
    }
}

fn given() -> Given {
    static GIVEN: LazyLock<Given> = LazyLock::new(|| {
        let Scenario { given, .. } = scenarios().swap_remove(0);
        given
    });
    GIVEN.clone()
}
