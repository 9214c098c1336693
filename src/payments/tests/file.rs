//! The file of the demo gateway: what it survives, and what it refuses.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use super::*;
use crate::payments::demo::OpenError;

const NAME: &str = "demo-gateway.log";

#[tokio::test]
async fn the_state_survives_and_is_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::in_folder(folder.path()).await;
    let gateway = demo.gateway();
    captured(&gateway, "tok_ok", "p").await;
    gateway.authorize(&by("tok_refund_fails", "q")).await.unwrap();
    gateway.void(&step("unseen", "void", 2_500)).await.unwrap();
    gateway.capture(&step("q", "capture", 2_500)).await.unwrap();
    let before = gateway.list("").await.unwrap();
    assert_eq!(before.payments.len(), 3);
    demo.stop().await;
    let size = || fs::metadata(folder.path().join(NAME)).unwrap().len();
    let grown = size();

    let demo = Demo::in_folder(folder.path()).await;
    assert!(size() < grown, "one record is left of each payment");
    let gateway = demo.gateway();
    assert_eq!(gateway.list("").await.unwrap(), before);
    // Keys, tombstones and what a token does are known as well.
    assert_eq!(gateway.capture(&step("p", "capture", 2_500)).await.unwrap(), before.payments[0]);
    assert_refused(gateway.capture(&step("p", "capture", 2_400)).await, Refusal::InvalidArgument);
    assert_eq!(gateway.authorize(&by("tok_ok", "unseen")).await.unwrap().state, GatewayState::Voided);
    gateway.refund(&step("q", "refund", 2_500)).await.unwrap();
    demo.stop().await;

    // A refund that was under way ends after the start.
    let mut demo = Demo::in_folder(folder.path()).await;
    demo.set(no_faults()).await;
    let (gateway, mut pushes) = (demo.gateway(), demo.gateway().watch("").await.unwrap());
    while state_of(&gateway.payment("q").await.unwrap(), "q/refund") == OperationState::Pending {
        pushes.next().await.unwrap();
    }
    assert_eq!(state_of(&gateway.payment("q").await.unwrap(), "q/refund"), failed("refund_refused"));
}

#[tokio::test]
async fn a_torn_last_record_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let demo = Demo::in_folder(folder.path()).await;
    demo.gateway().authorize(&by("tok_ok", "p")).await.unwrap();
    let length = fs::metadata(&path).unwrap().len();
    demo.gateway().capture(&step("p", "capture", 2_500)).await.unwrap();
    demo.stop().await;
    let whole = fs::read(&path).unwrap();
    for cut in [length, length + 1, length + 11, length + 12, length + 40, whole.len() as u64 - 1] {
        fs::write(&path, &whole[..usize::try_from(cut).unwrap()]).unwrap();
        let demo = Demo::in_folder(folder.path()).await;
        assert_authorized(&demo.gateway().payment("p").await.unwrap());
        // What is written after it can be read.
        demo.gateway().void(&step("p", "void", 2_500)).await.unwrap();
        demo.stop().await;
        let demo = Demo::in_folder(folder.path()).await;
        assert_eq!(demo.gateway().payment("p").await.unwrap().state, GatewayState::Voided);
        demo.stop().await;
    }
}

#[test]
fn a_file_that_is_damaged_or_in_use_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let book = Book::open(folder.path()).unwrap();
    let second = Book::open(folder.path()).err().unwrap();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    assert!(second.to_string().contains("--payment-gateway-url"), "{second}");
    drop(book);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]).unwrap();
    for content in [fs::read(&path).unwrap(), b"Dear customer, this is not a file of the demo gateway".to_vec()] {
        fs::write(&path, &content).unwrap();
        let damaged = Book::open(folder.path()).err().unwrap();
        assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let in_a_file = Book::open(&path).err().unwrap();
    assert!(matches!(in_a_file, OpenError::Unusable { .. }), "{in_a_file}");
}

#[tokio::test]
async fn no_token_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::in_folder(folder.path()).await;
    for token in ["tok_ok", "tok_of_a_secret_kind"] {
        demo.gateway().authorize(&by(token, &token.replace("tok", "key"))).await.unwrap();
    }
    demo.stop().await;
    let content = fs::read(folder.path().join(NAME)).unwrap();
    let has = |text: &str| content.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("key_ok") && has("unknown_token") && !has("tok_ok") && !has("tok_of"));
}
