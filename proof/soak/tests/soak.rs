//! Many operations on a few sessions, on runtimes that are shut down during operations.

use tower_reauth_soak::soak;

#[test]
fn p01_p02_p03_p10_the_properties_hold_on_a_runtime_that_is_driven_by_hand() {
    soak(0);
}

#[test]
fn p01_p02_p03_p10_the_properties_hold_on_two_workers() {
    soak(2);
}

#[test]
fn p01_p02_p03_p10_the_properties_hold_on_eight_workers() {
    soak(8);
}
