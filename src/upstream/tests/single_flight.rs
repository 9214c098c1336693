//! How many calls may be in flight, and what becomes of one that panics.

use std::future;

use crate::upstream::single_flight::{MAX_CALLS, Panicked, SingleFlight};

#[tokio::test]
async fn the_number_of_calls_in_flight_is_bounded() {
    let calls = SingleFlight::<usize, ()>::new();
    for key in 0..MAX_CALLS {
        assert!(calls.join(&key, future::pending).is_some());
    }
    assert!(calls.join(&MAX_CALLS, future::pending).is_none());
    assert!(calls.join(&0, future::pending).is_some(), "this one is in flight already");
}

#[tokio::test]
async fn a_call_that_has_ended_is_not_joined() {
    let calls = SingleFlight::new();
    for result in 0..3 {
        let pending = calls.join(&"key", || async move { result }).expect("not full");
        assert_eq!(pending.await, Ok(result));
    }
}

#[tokio::test]
async fn a_call_that_panics_says_so_and_is_not_joined_again() {
    let calls = SingleFlight::new();
    let panics = || async { panic!("as planted by this test") };
    assert_eq!(calls.join(&"key", panics).expect("not full").await, Err(Panicked));
    assert_eq!(calls.join(&"key", || async { 7 }).expect("not full").await, Ok(7));
}
