//! Random sequences of events, held against what must always be true.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{
    super::{
        backoff::Delays,
        held::{Held, Phase},
        *,
    },
    Harness, WALL, result,
};
use crate::{
    refresh::{RefreshError, RefreshReason},
    rt,
    session::machine::tests::scenario::{Given, Scenario, scenarios},
    token::AccessToken,
};

#[derive(Clone, Debug)]
enum Event {
    Pass(u32),
    Wall(i32),
    New,
    Refresh,
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
    ResetBackoff,
    ShutDown,
    /// The running save ends.
    Saved(bool),
    /// The running save is no longer driven; one that was given up ends after all.
    StallSave,
    StalledSaveEnds(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..200_u32).prop_map(Event::Pass),
        1 => (-4000..4000_i32).prop_map(Event::Wall),
        8 => Just(Event::New),
        1 => Just(Event::Refresh),
        3 => any::<prop::sample::Index>().prop_map(Event::Rejected),
        5 => (prop::option::weighted(0.9, 0..700_u32), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(life, rotates, same)| Event::Response { life, rotates, same }),
        3 => (0..4_u8).prop_map(Event::Fail),
        1 => (0..4_u8).prop_map(Event::Lose),
        1 => any::<u8>().prop_map(Event::Late),
        1 => any::<bool>().prop_map(|own_refresh_token| Event::Set { own_refresh_token }),
        1 => Just(Event::SignIn),
        1 => Just(Event::SignOut),
        1 => Just(Event::ResetBackoff),
        1 => prop::bool::weighted(0.05).prop_map(|ends| if ends { Event::ShutDown } else { Event::New }),
        4 => any::<bool>().prop_map(Event::Saved),
        1 => Just(Event::StallSave),
        1 => any::<bool>().prop_map(Event::StalledSaveEnds),
    ]
}

/// What changes or saves the state.
fn save_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (0..20_u32).prop_map(Event::Pass),
        3 => Just(Event::New),
        3 => Just(Event::Refresh),
        4 => (prop::option::weighted(0.9, 0..700_u32), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(life, rotates, same)| Event::Response { life, rotates, same }),
        1 => any::<u8>().prop_map(Event::Late),
        2 => any::<bool>().prop_map(|own_refresh_token| Event::Set { own_refresh_token }),
        2 => Just(Event::SignIn),
        1 => Just(Event::SignOut),
        1 => Just(Event::ResetBackoff),
        4 => any::<bool>().prop_map(Event::Saved),
        1 => Just(Event::StallSave),
        1 => any::<bool>().prop_map(Event::StalledSaveEnds),
    ]
}

const LIMITS: WaitLimits = WaitLimits {
    timeout: 30_000_000_000,
    until_deadline: false,
    rejection_wait: 2_000_000_000,
    max_waiters: None,
    min_lifetime: 0,
};

/// A plain model beside the machine: what was asked, given out and taken away.
struct Model {
    machine: Machine,
    now: Timestamp,
    /// The flights whose tasks run, and whether they have responded.
    flights: Vec<(FlightInfo, bool)>,
    /// The running save: its number, what it writes, and whether nobody drives it.
    saving: Option<(u64, Option<Token>, bool)>,
    /// Saves that nobody drives and that were given up.
    given_up: Vec<(u64, Option<Token>)>,
    /// What the last save wrote. The outer `None`: nothing was written yet.
    stored: Option<Option<Token>>,
    given: Vec<AccessToken>,
    names: u32,
    generation: u64,
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
            wait_through_backoff: true,
        };
        let now = Timestamp { wall: WALL, monotonic: 0 };
        let mut machine = Machine::new(Arc::new(rules), Persistence::Hook, Some(1));
        machine.start_with_refresh_token(None);
        Self {
            machine,
            now,
            flights: Vec::new(),
            saving: None,
            given_up: Vec::new(),
            stored: None,
            given: Vec::new(),
            names: 0,
            generation: 0,
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
        let decision = self.machine.turn(self.now, 0, &mut effects).demand(demand, &LIMITS, true);
        if let Ok(Decision::Use(token)) = &decision {
            assert!(!self.signed_out, "a signed-out session gave a token");
            assert!(self.is_of_sign_in(token.id().epoch), "a token of another sign-in");
            if let Demand::Rejected(id) = demand {
                assert!(token.generation() > id.epoch.generation, "the rejected token again");
            }
            self.given.push(token.clone());
        }
        if let Ok(Decision::Wait(wait)) = &decision {
            let next = match self.machine.flights.current {
                Some(_) => 0,
                None => 1,
            };
            assert_eq!(
                matches!(wait.stage, WaitStage::Backoff(_)),
                next == 1,
                "a waiter waits for something"
            );
            assert_eq!(self.machine.flights.started + next, wait.flight);
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
            self.flights.push((info, false));
        }
        self.check_save();
        if let Some(order) = effects.save.take() {
            self.begin_save(*order);
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
            assert!(self.is_of_sign_in(snapshot.token.id().epoch));
        }
        assert!(self.machine.epoch.generation >= self.generation, "generations only go up");
        self.generation = self.machine.epoch.generation;
    }

    fn is_of_sign_in(&self, epoch: Epoch) -> bool {
        self.machine.epoch.is_same_sign_in(epoch)
    }

    fn begin_save(&mut self, order: SaveOrder) {
        assert!(self.saving.is_none(), "two saves at once");
        self.saving = Some((order.id, order.token, false));
    }

    /// Notices that the machine has given the running save up.
    fn check_save(&mut self) {
        let running = self.machine.saves.running().map(|save| save.id);
        if let Some((id, token, _)) = self.saving.take_if(|(id, ..)| running != Some(*id)) {
            self.given_up.push((id, token));
        }
    }

    fn end_save(&mut self, id: u64, token: Option<Token>, ok: bool) {
        if ok {
            self.stored = Some(token);
        }
        let mut effects = Effects::default();
        self.machine.turn(self.now, 0, &mut effects).save_ended(id, result(ok));
        self.after(effects);
        self.save_responses();
    }

    /// The tasks of flights whose responses waited for a save.
    fn save_responses(&mut self) {
        self.flights.retain(|(info, responded)| !responded || self.machine.flights.is_current(info));
        let waits = |flights: &Vec<(FlightInfo, bool)>| {
            flights.iter().find(|(_, responded)| *responded).map(|(info, _)| info.clone())
        };
        let is_saving = self.machine.saves.running().is_some();
        if let Some(info) = waits(&self.flights).filter(|_| !is_saving) {
            self.save_response(&info);
        }
    }

    fn save_response(&mut self, info: &FlightInfo) {
        let mut effects = Effects::default();
        let saving = self.machine.turn(self.now, 0, &mut effects).save_before_landing(info);
        self.after(effects);
        if let Saving::Now(order) = saving {
            let token = order.token.as_ref().expect("a flight never erases");
            assert!(token.refresh_secret().is_some() || info.presented.is_none(), "carried over");
            self.begin_save(*order);
        }
        self.flights.retain(|(info, responded)| !responded || self.machine.flights.is_current(info));
    }

    /// A flight ends without a response: the current one, or with `late` one that was abandoned.
    fn land(&mut self, end: FlightEnd, late: bool) {
        let running = self.machine.flights.current.as_ref().map(|flight| flight.info.id);
        let is_wanted =
            |(info, responded): &(FlightInfo, bool)| !responded && (Some(info.id) != running) == late;
        let Some(at) = self.flights.iter().position(is_wanted) else { return };
        let (info, _) = self.flights.remove(at);
        let before = self.machine.epoch.generation;
        let mut effects = Effects::default();
        self.machine.turn(self.now, 0, &mut effects).land(&info, end);
        assert_eq!(self.machine.epoch.generation, before, "a failure changed the token");
        self.note_backoff();
        self.after(effects);
    }

    /// A refresher returns a token: that of the current flight, or with `late` of one that was abandoned.
    fn respond(&mut self, token: Token, late: bool) {
        let running = self.machine.flights.current.as_ref().map(|flight| flight.info.id);
        let is_wanted =
            |(info, responded): &(FlightInfo, bool)| !responded && (Some(info.id) != running) == late;
        let Some(at) = self.flights.iter().position(is_wanted) else { return };
        let info = self.flights[at].0.clone();
        let ours = self.is_of_sign_in(info.epoch) && self.refresh_token() == info.presented;
        let had_successor = self.machine.flights.has_successor();
        let before = self.machine.epoch.generation;
        let successor = token.refresh_secret().cloned();
        let mut effects = Effects::default();
        self.machine.turn(self.now, 0, &mut effects).respond(&info, token);
        self.after(effects);
        if late {
            self.flights.remove(at);
            if !ours {
                let after = self.machine.epoch.generation;
                assert_eq!(after, before, "a result that is not wanted changed the token");
            } else if successor.is_some() && successor != info.presented && !had_successor {
                self.assert_taken(&info, successor);
            }
        } else {
            self.flights[at].1 = true;
            if ours && successor.is_some() && successor != info.presented {
                // Once it is there, it is never presented again, unless another token is set.
                self.spend(&info);
            }
            self.save_response(&info);
        }
        self.note_backoff();
    }

    fn assert_taken(&mut self, info: &FlightInfo, successor: Option<Secret>) {
        assert_eq!(self.refresh_token(), successor, "a rotated token was lost");
        self.spend(info);
    }

    fn spend(&mut self, info: &FlightInfo) {
        self.spent.extend(info.presented.as_ref().map(|spent| spent.expose().to_owned()));
    }

    fn note_backoff(&mut self) {
        let left = self.machine.grant.as_ref().and_then(|grant| grant.backoff.time_left(self.now));
        // But for the end of a valid token, which is known to the machine alone, as is what a late response
        // changes.
        self.not_before =
            left.map(|left| Timestamp { wall: self.now.wall + left, monotonic: self.now.monotonic + left });
    }

    /// Everything that runs succeeds, and everything unsaved is saved.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.land(FlightEnd::Failed(RefreshError::transient("t")), false);
            if let Some((id, token, _)) = self.saving.take() {
                self.end_save(id, token, true);
            }
            for (id, token) in std::mem::take(&mut self.given_up) {
                self.end_save(id, token, true);
            }
            let mut effects = Effects::default();
            self.machine.turn(self.now, 0, &mut effects).save_now();
            self.after(effects);
        }
        assert!(self.saving.is_none() && self.machine.flights.current.is_none());
        assert!(!self.machine.is_unsaved() || self.has_nothing_to_save());
        if let Some(stored) = &self.stored {
            let held = self.machine.held_token();
            match (stored, held) {
                (Some(stored), Some(held)) => assert!(stored.is_same_record(held), "{stored:?} {held:?}"),
                (stored, held) => assert!(stored.is_none() && held.is_none(), "{stored:?} {held:?}"),
            }
        }
    }

    /// A refresh token alone can't be stored.
    fn has_nothing_to_save(&self) -> bool {
        self.machine.grant.is_some() && self.machine.held_token().is_none()
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
            Event::Refresh => self.demand(Demand::Requested),
            Event::Rejected(index) => {
                if !self.given.is_empty() {
                    let id = index.get(&self.given).id();
                    if self.is_of_sign_in(id.epoch) && id.epoch.generation == self.generation {
                        self.not_before = None;
                    }
                    self.demand(Demand::Rejected(id));
                }
            }
            Event::Response { life, rotates, same } => {
                let mut token = self.token(life, rotates);
                if let Some(held) = self.machine.held_token().filter(|_| same) {
                    let mut builder = Token::builder(held.access_token());
                    if let Some(life) = life {
                        builder = builder.expires_in(std::time::Duration::from_secs(life.into()));
                    }
                    token = builder.build().unwrap();
                }
                self.respond(token, false);
            }
            Event::Fail(kind) => self.fail(kind),
            Event::Lose(how) => {
                let lost =
                    [Lost::TimedOut, Lost::Panicked, Lost::Dropped, Lost::NeverCalled][usize::from(how)];
                self.land(FlightEnd::Lost(lost), false);
            }
            Event::Late(seed) => match seed % 3 {
                0 => self.land(FlightEnd::Failed(RefreshError::grant_ended("late")), true),
                rotates => {
                    let token = self.token(Some(600), rotates == 1);
                    self.respond(token, true);
                }
            },
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
                self.signed_out = false;
                self.new_sign_in();
                self.after(effects);
            }
            Event::SignOut => {
                let mut effects = Effects::default();
                let _ = self.machine.turn(self.now, 0, &mut effects).sign_out();
                self.signed_out = true;
                self.new_sign_in();
                self.after(effects);
                assert!(self.machine.grant.is_none());
            }
            Event::ResetBackoff => {
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
                if let Some((id, token, _)) = self.saving.take_if(|(.., is_stalled)| !*is_stalled) {
                    self.end_save(id, token, ok);
                }
            }
            Event::StallSave => {
                if let Some((.., is_stalled)) = &mut self.saving {
                    *is_stalled = true;
                }
            }
            Event::StalledSaveEnds(ok) => {
                if !self.given_up.is_empty() {
                    let (id, token) = self.given_up.remove(0);
                    self.end_save(id, token, ok);
                }
            }
        }
    }

    /// A save that is driven has a timeout.
    fn end_overdue_save(&mut self, passed: Nanos) {
        if passed > 0 {
            self.apply(Event::Saved(false));
        }
    }

    fn new_sign_in(&mut self) {
        self.spent.clear();
        self.not_before = None;
        assert!(self.machine.grant.as_ref().is_none_or(|grant| grant.backoff.failures == 0));
    }

    fn refresh_token(&self) -> Option<Secret> {
        self.machine.grant.as_ref()?.refresh_token.clone()
    }

    fn fail(&mut self, kind: u8) {
        let Some(flight) = &self.machine.flights.current else { return };
        if flight.response.is_some() {
            return;
        }
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
            None => self.land(FlightEnd::Failed(error), false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p01_p02_p05_p10_any_order_of_events_keeps_the_rules(events in prop::collection::vec(event(), 0..120)) {
        let mut model = Model::new();
        for event in events {
            model.apply(event);
        }
    }

    #[test]
    fn d13_p17_what_is_saved_last_is_what_the_session_holds(
        events in prop::collection::vec(save_event(), 0..60),
    ) {
        let mut model = Model::new();
        for event in events {
            model.apply(event);
        }
        model.settle();
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
        Arc::make_mut(&mut harness.machine.rules).window = window;
        Arc::make_mut(&mut harness.machine.rules).margin = margin;
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
