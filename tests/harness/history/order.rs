//! Order: what was over before something else began came before it.

/// A call, as far as order goes, with ticks of the history's counter.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) begun: u64,
    pub(super) ended: u64,
    /// When it ended, somebody knew that this revision had been reached.
    pub(super) known: i64,
    /// At which revision it was decided, if that was between its beginning and its end.
    pub(super) decided: Option<i64>,
    /// Whether the call itself made that revision.
    pub(super) made: bool,
    /// How to speak of it.
    pub(super) what: String,
}

/// For each call the latest revision that was known before it began; and every call that was decided on an older one.
pub(super) fn floors(points: &[Point]) -> (Vec<i64>, Vec<String>) {
    let mut ticks: Vec<(u64, usize, bool)> = Vec::with_capacity(points.len() * 2);
    for (at, point) in points.iter().enumerate() {
        ticks.push((point.begun, at, true));
        ticks.push((point.ended, at, false));
    }
    ticks.sort_unstable();
    let (mut floors, mut wrong) = (vec![0; points.len()], Vec::new());
    let (mut floor, mut by) = (0, "nobody");
    for (_, at, begins) in ticks {
        let point = &points[at];
        if !begins {
            if point.known > floor {
                (floor, by) = (point.known, &point.what);
            }
            continue;
        }
        floors[at] = floor;
        if point.decided.is_some_and(|decided| decided < floor + i64::from(point.made)) {
            let decided = point.decided.unwrap_or_default();
            wrong.push(format!(
                "{} was decided at revision {decided}, though {floor} was known before it began, by {by}",
                point.what
            ));
        }
    }
    (floors, wrong)
}

#[test]
fn whoever_begins_later_is_decided_no_earlier() {
    let point = |begun, ended, revision, made| Point {
        begun,
        ended,
        known: revision,
        decided: Some(revision),
        made,
        what: format!("{begun}"),
    };
    let wrong = |points: &[Point]| floors(points).1.len();
    // One after the other.
    assert_eq!(wrong(&[point(0, 1, 2, true), point(2, 3, 2, false), point(4, 5, 3, true)]), 0);
    assert_eq!(wrong(&[point(0, 1, 2, true), point(2, 3, 1, false)]), 1);
    assert_eq!(wrong(&[point(0, 1, 2, true), point(2, 3, 2, true)]), 1);
    // At the same time, in any order.
    assert_eq!(wrong(&[point(0, 3, 2, true), point(1, 2, 1, false)]), 0);
    assert_eq!(wrong(&[point(0, 2, 3, true), point(1, 3, 2, true)]), 0);
}
