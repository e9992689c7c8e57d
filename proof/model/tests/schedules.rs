//! Many scenarios of the session's shell, each in one schedule of its threads.

use tower_reauth_model::{Mode, run};

#[test]
fn p01_p02_p03_p10_the_properties_hold_in_random_schedules() {
    run(Mode::Random);
}

#[test]
fn p01_p02_p03_p10_the_properties_hold_in_schedules_by_priority() {
    run(Mode::Pct);
}
