//! The model test is tested itself: it finds a bug that is planted in the ledger, and names what went wrong.

use std::process::Command;

use crate::model::PLANTED_BUG;

/// The ledger on `SQLite` is compared with the model in a process of its own, since a bug is planted for a whole process.
#[test]
fn seats_that_are_freed_while_their_payment_may_succeed_are_found() {
    let program = std::env::current_exe().expect("the tests are a program");
    let test = ["--exact", "model::the_ledger_on_sqlite_answers_as_the_model_does"];
    let output = Command::new(program).args(test).env(PLANTED_BUG, "release-while-paying").output().expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && printed.contains("running 1 test"), "the bug is not found: {printed}");
    // An answer differs, or a sweep has recorded what the model has not.
    let reasons = ["right: the model", "the database has other counts than the model"];
    assert!(reasons.iter().any(|reason| printed.contains(reason)), "it fails for another reason: {printed}");
}
