//! What the log has of a panic.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use axum::routing::any;

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_is_logged_once_under_the_id_that_the_caller_gets() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _subscriber = tracing::subscriber::set_default(lines);
    let panics = Router::new().route("/x/y", any(async || -> &'static str { panic!("on request") }));
    let stack = connected(stack(panics, &Settings::default()), Limits::default());
    let answer = stack.oneshot(native("/x/y", vec![])).await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    let (_, rest) = log.split_once("request_id=\"").unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["request_id"], rest[..16]);
    assert!(log.contains("on request"), "{log}");
}
