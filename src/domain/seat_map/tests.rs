//! Properties of maps and deltas.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

/// Consecutive commits of a showtime with ten seats.
fn history() -> impl Strategy<Value = Vec<Delta>> {
    let status = prop_oneof![
        Just(Status::Free),
        Just(Status::Sold),
        (0..20_i64).prop_map(|until| Status::Held { until: at(until) }),
    ];
    let commit = (1..3_i64, prop::collection::vec((0..10_u16, status), 0..4));
    prop::collection::vec(commit, 1..20).prop_map(|commits| {
        let mut revision = 1;
        let mut delta = |(further, seats)| {
            let before = revision;
            revision += further;
            Delta { before, revision, seats, cancelled: None }
        };
        commits.into_iter().map(&mut delta).collect()
    })
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
}

fn empty() -> SeatMap {
    SeatMap::new(crate::domain::seating::tests::plan(&["ssssssssss"]), 1, showtime::State::Scheduled, [])
}

fn shown(map: &SeatMap, now: i64) -> Vec<Status> {
    map.at(at(now)).collect()
}

proptest! {
    #[test]
    fn deltas_joined_lead_where_they_lead_one_by_one(history in history(), now in 0..25_i64) {
        let (mut walked, mut leapt) = (empty(), empty());
        let mut joined = Delta::from(1);
        for delta in &history {
            prop_assert_eq!(walked.follow(delta), Followed::Done);
            prop_assert_eq!(walked.follow(delta), Followed::Known);
            joined.join(delta);
        }
        joined.settle();
        prop_assert!(joined.seats.windows(2).all(|pair| pair[0].0 < pair[1].0));
        prop_assert_eq!(leapt.follow(&joined), Followed::Done);
        prop_assert_eq!((leapt.revision(), shown(&leapt, now)), (walked.revision(), shown(&walked, now)));
        let mut again = empty();
        again.follow(&again.towards(&walked));
        prop_assert_eq!((again.revision(), shown(&again, now)), (walked.revision(), shown(&walked, now)));
    }

    #[test]
    fn a_gap_is_never_papered_over(history in history(), missing in 0..20_usize) {
        let mut map = empty();
        for (index, delta) in history.iter().enumerate().filter(|(index, _)| *index != missing) {
            let (before, revision) = (shown(&map, 0), map.revision());
            let expected = if index < missing { Followed::Done } else { Followed::Gap };
            prop_assert_eq!(map.follow(delta), expected);
            if expected == Followed::Gap {
                prop_assert_eq!((shown(&map, 0), map.revision()), (before, revision));
            }
        }
    }

    /// A map that is updated at each lapse is the map that is read at any time.
    #[test]
    fn lapses_applied_one_by_one_are_what_is_seen(history in history(), steps in prop::collection::vec(0..25_i64, 1..6)) {
        let mut map = empty();
        for delta in &history {
            map.follow(delta);
        }
        let mut applied = shown(&map, 0);
        let (mut last, mut steps) = (0, steps);
        steps.sort_unstable();
        for now in steps {
            let next = map.next_lapse(at(last));
            let lapsed: Vec<_> = map.lapsed(at(last), at(now)).collect();
            prop_assert_eq!(next.is_some_and(|next| next <= at(now)), !lapsed.is_empty());
            for seat in lapsed {
                applied[usize::from(seat)] = Status::Free;
            }
            prop_assert_eq!(&applied, &shown(&map, now));
            last = now;
        }
    }
}
