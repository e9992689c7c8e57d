//! Runs many scenarios, each in one schedule of its threads.

use std::{
    cell::RefCell,
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, PoisonError},
};

use shuttle::{
    Config, MaxSteps, Runner,
    rand::RngCore,
    scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler},
};

use crate::{execution::execute, scenario::Scenario};

/// How the next thread is chosen.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// At random, at each step.
    Random,
    /// By priorities, which change at a few random steps: finds orders in which one thread stops for long.
    Pct,
}

const SEED: u64 = 0x0072_6561_7574_6800;
/// The number of schedules if none is set, as when all tests of the workspace run.
const FEW: usize = 2_000;
const STACK: usize = 256 * 1024;
/// An execution with more steps never ends.
const MAX_STEPS: usize = 100_000;

std::thread_local! {
    static CURRENT: RefCell<Option<Scenario>> = const { RefCell::new(None) };
}

/// Runs `TOWER_REAUTH_SCHEDULES` schedules, or the one in `TOWER_REAUTH_REPLAY`.
///
/// # Panics
///
/// If a property doesn't hold in one of them.
pub fn run(mode: Mode) {
    let schedules = variable("TOWER_REAUTH_SCHEDULES").unwrap_or(FEW);
    let seed = variable("TOWER_REAUTH_SEED").unwrap_or(SEED);
    match (env::var("TOWER_REAUTH_REPLAY"), mode) {
        (Ok(schedule), _) => run_with(ReplayScheduler::new_from_encoded(schedule.trim())),
        (Err(_), Mode::Random) => run_with(RandomScheduler::new_from_seed(seed, schedules)),
        (Err(_), Mode::Pct) => run_with(PctScheduler::new_from_seed(seed, 3, schedules)),
    }
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} isn't a number")))
}

#[expect(clippy::print_stderr, reason = "to find out what failed")]
fn run_with(scheduler: impl Scheduler + 'static) {
    // The counters in a `static` are those of one execution at a time.
    static RUNNING: Mutex<()> = Mutex::new(());
    let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    // It treats all orderings as the strongest: see the README.
    config.silence_warnings = true;
    let runner = Runner::new(scheduler, config);
    let run = || {
        runner.run(|| {
            let scenario = Scenario::new(shuttle::rand::thread_rng().next_u64());
            CURRENT.set(Some(scenario.clone()));
            execute(scenario);
        })
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        if let Some(scenario) = CURRENT.take() {
            eprintln!("{scenario:#?}");
        }
        eprintln!("to replay it, set TOWER_REAUTH_REPLAY to the schedule above");
        resume_unwind(panic);
    }
}
