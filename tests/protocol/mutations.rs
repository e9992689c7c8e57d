//! Each rule of the protocol is needed: without it, a test fails.

use std::process::Command;

/// A rule, and the test that fails without it.
const RULES: &[(&str, &str)] = &[
    ("no claim", "simulation::p19_one_exchange_for_each_expiry"),
    ("blind claim", "simulation::p19_one_exchange_for_each_expiry"),
    ("no second look", "simulation::p19_one_exchange_for_each_expiry"),
    ("look-up is no look", "orders::p19_a_claim_that_a_look_up_has_found_is_not_used_if_a_newer_token_came"),
    ("no adoption", "simulation::p19_one_exchange_for_each_expiry"),
    ("claim ignored", "simulation::p19_one_exchange_for_each_expiry"),
    ("early lapse", "simulation::p19_one_exchange_for_each_expiry"),
    ("no mark", "simulation::p19_with_killed_processes"),
    ("unknown forgotten", "simulation::p19_with_lost_requests_and_responses"),
    ("verdict at once", "orders::p19_a_refusal_of_a_token_that_was_replaced_meanwhile_ends_nothing"),
    ("verdict erases", "orders::p19_a_refusal_of_a_token_that_was_replaced_meanwhile_ends_nothing"),
    ("strict fence", "orders::p19_a_successor_that_the_record_has_already_is_not_saved_again"),
    ("no fence", "orders::p19_a_late_save_leaves_the_claim_of_another_process"),
    ("save clears claims", "orders::p19_a_late_save_leaves_the_claim_of_another_process"),
    ("same saved again", "orders::p19_a_successor_that_the_record_has_already_is_not_saved_again"),
    ("no gap", "orders::p19_a_token_set_after_a_late_save_does_not_shut_out_a_response"),
    ("unsaved dropped", "orders::p19_what_is_unsaved_is_written_before_anything_is_presented"),
    ("unsaved not retried", "orders::p19_what_is_unsaved_is_written_before_anything_is_presented"),
    ("unsaved forgotten", "orders::p19_what_is_unsaved_is_written_before_anything_is_presented"),
    ("behind is fine", "simulation::p19_with_a_store_that_loses_a_write"),
    ("follow back", "orders::p19_a_record_that_went_back_to_an_earlier_sign_in_is_not_followed"),
    ("own list", "orders::p19_a_record_that_went_back_to_an_earlier_sign_in_is_not_followed"),
    ("ended for good", "orders::p19_a_late_response_counts_more_than_the_refusal_of_another_process"),
    ("no epoch", "simulation::p19_with_sign_ins_and_sign_outs"),
    ("epoch counted", "orders::p19_a_sign_in_after_a_lost_one_has_another_epoch"),
    ("set clears claim", "simulation::p19_with_access_tokens_that_are_set"),
    ("set clears unknown", "simulation::p19_with_access_tokens_that_are_set"),
    ("set fences", "orders::p19_an_access_token_that_is_set_fences_off_no_refresh_token"),
    ("constant epoch", "orders::p19_a_sign_in_after_a_lost_one_has_another_epoch"),
    ("unreadable is empty", "orders::p19_a_store_that_cannot_be_read_signs_nobody_out"),
    ("lost write is a failure", "orders::p19_a_claim_whose_response_is_lost_is_looked_up_and_used"),
    ("own claim unknown", "orders::p19_a_claim_under_which_nothing_was_presented_is_used"),
];

/// Runs each test in a process without its rule.
#[test]
fn p19_a_test_fails_without_each_rule() {
    let this = std::env::current_exe().unwrap();
    let survived: Vec<_> = RULES
        .iter()
        .filter(|(rule, test)| {
            let mut command = Command::new(&this);
            command.args(["--exact", test]).env("TOWER_REAUTH_WITHOUT", rule).env("RUST_BACKTRACE", "0");
            let output = command.output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains("running 1 test"), "there is no test {test}");
            output.status.success()
        })
        .collect();
    assert!(survived.is_empty(), "no test fails without these rules: {survived:#?}");
}
