//! The real-time order of calls: if one call ended before another started, the other is decided at the same or a later revision.

/// The start and end of a call, as ticks of the history's counter, and the revisions that it shows.
#[derive(Clone, Debug)]
pub(super) struct CallSpan {
    pub(super) started: u64,
    pub(super) ended: u64,
    /// The revision that the showtime had reached at the latest when the call ended.
    pub(super) reached: i64,
    /// The revision at which the call was decided, if it was decided between its start and its end.
    pub(super) decided: Option<i64>,
    /// Whether the call itself made the revision `decided`.
    pub(super) is_change: bool,
    /// The description of the call in an anomaly.
    pub(super) label: String,
}

/// Returns, for each call, the latest revision that was known when it started, and an anomaly for every call that was decided
/// at an older one.
pub(super) fn check_real_time(calls: &[CallSpan]) -> (Vec<i64>, Vec<String>) {
    let mut ticks: Vec<(u64, usize, bool)> = Vec::with_capacity(calls.len() * 2);
    for (at, call) in calls.iter().enumerate() {
        ticks.push((call.started, at, true));
        ticks.push((call.ended, at, false));
    }
    ticks.sort_unstable();
    let (mut known_at_start, mut anomalies) = (vec![0; calls.len()], Vec::new());
    let (mut known, mut known_from) = (0, "no call");
    for (_, at, is_start) in ticks {
        let call = &calls[at];
        if !is_start {
            if call.reached > known {
                (known, known_from) = (call.reached, &call.label);
            }
            continue;
        }
        known_at_start[at] = known;
        if call.decided.is_some_and(|decided| decided < known + i64::from(call.is_change)) {
            let decided = call.decided.unwrap_or_default();
            anomalies.push(format!(
                "{} was decided at revision {decided}, but {known} was known before it started, from {known_from}",
                call.label
            ));
        }
    }
    (known_at_start, anomalies)
}

#[test]
fn a_call_that_starts_later_is_not_decided_earlier() {
    let call = |started, ended, revision, is_change| CallSpan {
        started,
        ended,
        reached: revision,
        decided: Some(revision),
        is_change,
        label: format!("{started}"),
    };
    let anomalies = |calls: &[CallSpan]| check_real_time(calls).1.len();
    // One call after the other.
    assert_eq!(anomalies(&[call(0, 1, 2, true), call(2, 3, 2, false), call(4, 5, 3, true)]), 0);
    assert_eq!(anomalies(&[call(0, 1, 2, true), call(2, 3, 1, false)]), 1);
    assert_eq!(anomalies(&[call(0, 1, 2, true), call(2, 3, 2, true)]), 1);
    // Calls at the same time may be decided in any order.
    assert_eq!(anomalies(&[call(0, 3, 2, true), call(1, 2, 1, false)]), 0);
    assert_eq!(anomalies(&[call(0, 2, 3, true), call(1, 3, 2, true)]), 0);
}
