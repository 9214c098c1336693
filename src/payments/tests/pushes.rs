//! Pushes: every change, from any token on, doubled and out of order where the token asks for it.

use super::*;
use crate::payments::Pushes;

/// The states of the next pushes, in short, and the last token.
async fn take(pushes: &mut Pushes, count: usize) -> (Vec<&'static str>, String) {
    let (mut states, mut token) = (Vec::new(), String::new());
    for _ in 0..count {
        let push = pushes.next().await.unwrap().unwrap();
        states.push(match push.report.map(|report| report.state) {
            None => "none",
            Some(GatewayState::Authorized { .. }) => "authorized",
            Some(GatewayState::Captured) => "captured",
            Some(GatewayState::Voided) => "voided",
            Some(_) => "other",
        });
        token = push.resume_token;
    }
    (states, token)
}

#[tokio::test]
async fn each_change_is_pushed_from_a_token_on() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    gateway.authorize(&by("tok_ok", "before")).await.unwrap();
    let mut pushes = gateway.watch("").await.unwrap();
    let (states, start) = take(&mut pushes, 1).await;
    assert_eq!(states, ["none"]);
    gateway.authorize(&by("tok_ok", "p")).await.unwrap();
    let (states, authorized) = take(&mut pushes, 1).await;
    assert_eq!(states, ["authorized"]);
    gateway.capture(&step("p", "capture", 2_500)).await.unwrap();
    assert_eq!(take(&mut pushes, 1).await.0, ["captured"]);
    // Nobody asks, and yet the end of the refund is pushed.
    gateway.refund(&step("p", "refund", 2_500)).await.unwrap();
    let mut refunded = 0;
    while refunded == 0 {
        refunded = pushes.next().await.unwrap().unwrap().report.unwrap().refunded_minor;
    }
    assert_eq!(refunded, 2_500);

    let mut again = gateway.watch(&authorized).await.unwrap();
    assert_eq!(take(&mut again, 2).await.0, ["none", "captured"]);
    // A change that a later one has overtaken is left out.
    let mut again = gateway.watch(&start).await.unwrap();
    assert_eq!(take(&mut again, 2).await.0, ["none", "captured"]);
    for token in ["x", "1", "00000000000000000000000000000000-1", &format!("{start}9")] {
        let refused = gateway.watch(token).await;
        assert!(matches!(refused, Err(Trouble::Refused { code: Refusal::InvalidArgument, .. })), "{token}");
    }
}

#[tokio::test]
async fn pushes_come_twice_and_the_older_after_the_newer() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    let mut pushes = gateway.watch("").await.unwrap();
    take(&mut pushes, 1).await;
    gateway.authorize(&by("tok_duplicate_push", "p")).await.unwrap();
    assert_eq!(take(&mut pushes, 2).await.0, ["authorized", "authorized"]);
    gateway.void(&step("p", "void", 2_500)).await.unwrap();
    assert_eq!(take(&mut pushes, 3).await.0, ["voided", "voided", "authorized"]);
}

#[tokio::test]
async fn a_stream_ends_when_the_gateway_stops_and_goes_on_after_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::in_folder(folder.path()).await;
    let gateway = demo.gateway();
    let mut pushes = gateway.watch("").await.unwrap();
    let (_, token) = take(&mut pushes, 1).await;
    gateway.authorize(&by("tok_ok", "p")).await.unwrap();
    demo.stop().await;
    while let Ok(Some(_)) = pushes.next().await {}
    let demo = Demo::in_folder(folder.path()).await;
    let mut pushes = demo.gateway().watch(&token).await.unwrap();
    assert_eq!(take(&mut pushes, 2).await.0, ["none", "authorized"]);
}
