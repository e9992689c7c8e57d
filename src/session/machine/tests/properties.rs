//! Random sequences of events, held against what must always be true.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{super::*, Machine, WALL};
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
    Refused(prop::sample::Index),
    Answer {
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
        3 => any::<prop::sample::Index>().prop_map(Event::Refused),
        5 => (prop::option::weighted(0.9, 0..700_u32), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(life, rotates, same)| Event::Answer { life, rotates, same }),
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
    state: State,
    now: Timestamp,
    flights: Vec<(Ticket, Option<Token>)>,
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
            limit: 60_000_000_000,
            save_timeout: 5_000_000_000,
            delays: Delays { first: 1_000_000_000, most: 120_000_000_000, jitter: false },
            saves: true,
        };
        let now = Timestamp { wall: WALL, monotonic: 0 };
        Self {
            state: State::new(rules, Some(1)),
            now,
            flights: Vec::new(),
            saving: None,
            given: Vec::new(),
            names: 0,
            generation: 0,
            sign_in: 0,
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
        let mut fx = Effects::default();
        let decision = self.state.demand(demand, self.now, true, true, &mut fx);
        if let Decision::Use(token) = &decision {
            assert!(!self.signed_out, "a signed-out session gave a token");
            assert_eq!(token.stamp().sign_in, self.sign_in, "a token of another sign-in");
            if let Demand::Refused(stamp) = demand {
                assert!(token.generation() > stamp.generation, "the refused token again");
            }
            self.given.push(token.clone());
        }
        if let Decision::Wait(wait) = &decision {
            let flight = self.state.flight.as_ref().expect("whoever waits, waits for a flight");
            assert_eq!(flight.ticket.id, wait.flight);
        }
        self.after(fx);
    }

    fn after(&mut self, mut fx: Effects) {
        if let Some((ticket, cx)) = fx.start.take() {
            assert!(!self.shut_down, "a flight began after the shutdown");
            assert!(!self.signed_out);
            if let Some(refresh_token) = cx.refresh_token() {
                assert!(!self.spent.iter().any(|spent| spent == refresh_token), "{refresh_token} is spent");
            }
            if let Some(not_before) = self.not_before.take() {
                assert!(self.now.since(not_before) >= 0, "asked before the backoff's end");
            }
            self.flights.push((ticket, None));
        }
        if let Some(order) = fx.save.take() {
            assert!(self.saving.is_none(), "two saves at once");
            self.saving = Some(order.version);
        }
        for (flight, _) in &fx.land {
            // An abandoned flight's task is still there, and may answer late.
            let running = self.state.flight.as_ref().map(|flight| flight.ticket.id);
            assert_ne!(running, Some(*flight), "a flight that has landed still runs");
        }
        for _ in &fx.revoke {
            self.state.revoked();
        }
        if let Some(quiet) = self.state.quiet(self.now) {
            assert!(quiet.length > 0 && !self.signed_out);
            assert_eq!(quiet.token.stamp().sign_in, self.sign_in);
        }
        assert!(self.state.generation >= self.generation, "generations only go up");
        self.generation = self.state.generation;
    }

    /// The current flight lands, or with `late` one that was abandoned.
    fn land(&mut self, landing: impl FnOnce(&mut Self, &Ticket) -> Landing, late: bool) {
        let running = self.state.flight.as_ref().map(|flight| flight.ticket.id);
        let Some(at) = self.flights.iter().position(|(ticket, _)| (Some(ticket.id) != running) == late)
        else {
            return;
        };
        let (ticket, answer) = self.flights.remove(at);
        let landing = match answer {
            Some(answer) => Landing::Answered(answer.clone(), SaveResult::Tried(answer, false)),
            None => landing(self, &ticket),
        };
        let ours = ticket.sign_in == self.sign_in && self.state.refresh_token == ticket.presented;
        let had_brought = self.state.flight.as_ref().is_some_and(Flight::has_brought_a_successor);
        let before = self.state.generation;
        let brought = match &landing {
            Landing::Answered(token, _) => token.refresh_secret().cloned(),
            _ => None,
        };
        let mut fx = Effects::default();
        self.state.land(&ticket, landing, self.now, 0, &mut fx);
        if !ours {
            assert_eq!(self.state.generation, before, "a result that is not wanted changed the token");
        } else if brought.is_some() && brought != ticket.presented && !(late && had_brought) {
            assert_eq!(self.state.refresh_token, brought, "a rotated token was lost");
            self.spent.extend(ticket.presented.as_ref().map(|spent| spent.expose().to_owned()));
        }
        let left = self.state.pace.left(self.now);
        // But for the end of a valid token, which is known to the machine alone, as is what a late answer changes.
        self.not_before =
            left.map(|left| Timestamp { wall: self.now.wall + left, monotonic: self.now.monotonic + left });
        self.after(fx);
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
            Event::Asked => self.demand(Demand::Asked),
            Event::Refused(index) => {
                if !self.given.is_empty() {
                    let stamp = index.get(&self.given).stamp();
                    if stamp.sign_in == self.sign_in && stamp.generation == self.generation {
                        self.not_before = None;
                    }
                    self.demand(Demand::Refused(stamp));
                }
            }
            Event::Answer { life, rotates, same } => self.answer(life, rotates, same),
            Event::Fail(kind) => self.fail(kind),
            Event::Lose(how) => {
                let lost = [Lost::Limit, Lost::Panic, Lost::Gone, Lost::NeverRan][usize::from(how)];
                self.land(|_, _| Landing::Lost(lost), false);
            }
            Event::Late(seed) => self.land(
                |model, _| match seed % 3 {
                    0 => Landing::Failed(RefreshError::grant_ended("late")),
                    rotates => {
                        let token = model.token(Some(600), rotates == 1);
                        Landing::Answered(token, SaveResult::NotTried)
                    }
                },
                true,
            ),
            Event::Set { own_refresh_token } => {
                let token = self.token(Some(600), own_refresh_token);
                let mut fx = Effects::default();
                assert_eq!(self.state.set(token, self.now, &mut fx).is_err(), self.signed_out);
                self.not_before = None;
                self.after(fx);
            }
            Event::SignIn => {
                let token = self.token(Some(600), true);
                let mut fx = Effects::default();
                self.state.sign_in(token, self.now, &mut fx);
                self.new_sign_in(false);
                self.after(fx);
            }
            Event::SignOut => {
                let mut fx = Effects::default();
                let _ = self.state.sign_out(&mut fx);
                self.new_sign_in(true);
                self.after(fx);
                assert!(self.state.refresh_token.is_none() && self.state.held.is_none());
            }
            Event::RetryNow => {
                let mut fx = Effects::default();
                self.state.reset_backoff(self.now, &mut fx);
                self.not_before = None;
                self.after(fx);
            }
            Event::ShutDown => {
                let mut fx = Effects::default();
                self.state.shut_down(&mut fx);
                self.shut_down = true;
                self.after(fx);
            }
            Event::Saved(ok) => {
                if let Some(version) = self.saving.take() {
                    let mut fx = Effects::default();
                    self.state.saved_again(version, ok, self.now, &mut fx);
                    self.after(fx);
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
        assert_eq!(self.state.pace.failures, 0);
    }

    fn answer(&mut self, life: Option<u32>, rotates: bool, same: bool) {
        let Some(flight) = &self.state.flight else { return };
        let ticket = flight.ticket.clone();
        let mut token = self.token(life, rotates);
        match &self.state.held {
            Some(held) if same => token = Token::builder(held.token.access_token()).build().unwrap(),
            _ => {}
        }
        match self.state.answered(&ticket, &token, self.now) {
            After::Save(order) => {
                assert!(self.saving.is_none(), "two saves at once");
                assert!(order.refresh_secret().is_some() || ticket.presented.is_none(), "carried over");
                self.land(|_, _| Landing::Answered(token, SaveResult::Tried(order, rotates)), false);
            }
            After::WaitForSave => {
                let at = self.flights.iter().position(|(known, _)| known.id == ticket.id).unwrap();
                self.flights[at].1 = Some(token);
            }
            _ => self.land(|_, _| Landing::Answered(token, SaveResult::NotTried), false),
        }
    }

    fn fail(&mut self, kind: u8) {
        let Some(flight) = &self.state.flight else { return };
        let ticket = flight.ticket.clone();
        let error = match kind {
            0 => RefreshError::transient("t").with_retry_after(std::time::Duration::from_secs(7)),
            1 => RefreshError::outcome_unknown("u"),
            2 => RefreshError::misconfigured("c"),
            _ => RefreshError::grant_ended("e"),
        };
        let mut fx = Effects::default();
        match self.state.failed(&ticket, &error, self.now, &mut fx) {
            After::Repeat(again, cx) => {
                assert!(error.is_outcome_unknown());
                assert_eq!(again.id, ticket.id);
                assert_eq!(cx.reason(), RefreshReason::Repeated);
            }
            _ => self.land(|_, _| Landing::Failed(error), false),
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
        let mut machine = Machine::new(&given());
        machine.state.rules.window = window;
        machine.state.rules.margin = margin;
        let mut builder = Token::builder("A1");
        if let Some(life) = life {
            builder = builder.expires_in(rt::duration(life));
        }
        let start = machine.now;
        let held = Held::new(builder.build().unwrap(), start, start, true, &machine.state.rules, luck);
        let later = Timestamp { wall: start.wall + age, monotonic: start.monotonic + age };
        let (left, left_fresh) = (held.left(start), held.left_fresh(start));
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
