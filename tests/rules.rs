//! `GetRules`: a client can read the rules of the deployment before a request is refused.

use boxoffice::pb::boxoffice::v1::{AccessibleSeats, GetRulesRequest, OrphanRule, Rules};

use crate::harness::{
    World,
    requests::seconds,
    seats::{best, reserve, showtime},
};

on_both_stores!(
    with |setup| setup
        .with("--max-seats", "3")
        .with("--max-customer-seats", "5")
        .with("--hold-duration", "90s")
        .with("--hold-extension", "30s")
        .with("--sales-closing", "15m")
        .with("--orphan-seats", "refuse")
        .with("--turnaround", "20m")
        .with("--accessible-seats", "on_request")
        .with("--accessible-seats-open-before", "45m");
    the_rules_are_those_of_the_deployment,
);

async fn the_rules_are_those_of_the_deployment(world: World) {
    let answer = world.reservations().get_rules(GetRulesRequest {}).await.expect("an answer").into_inner();
    let expected = Rules {
        max_seats: 3,
        max_customer_seats: 5,
        hold_duration: Some(seconds(90)),
        hold_extension: Some(seconds(30)),
        sales_closing: Some(seconds(15 * 60)),
        orphan_rule: OrphanRule::Refuse.into(),
        turnaround: Some(seconds(20 * 60)),
        accessible_seats: AccessibleSeats::OnRequest.into(),
        accessible_seats_open_before: Some(seconds(45 * 60)),
    };
    assert_eq!(answer.rules, Some(expected));
    // A request within the rules is accepted, and another one is refused.
    let showtime = showtime(&world).await;
    reserve(&world, best(&showtime, "ada", 3)).await.expect("three seats are allowed");
    reserve(&world, best(&showtime, "bob", 4)).await.expect_err("four seats are too many");
}
