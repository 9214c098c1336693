//! `ListShowtimes` over the wire: filters, order and pages.

use std::collections::BTreeMap;

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        CancelShowtimeRequest, CreateAuditoriumRequest, CreateShowtimeRequest, ListShowtimesRequest, Showtime,
        ShowtimeState,
    },
};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use tonic::Status;

use crate::harness::{
    World, assert_violates, create_auditorium, in_hours, new_auditorium, new_showtime,
    requests::{INCEPTION, ids, seconds},
    tampered, timestamp,
};

on_both_stores!(
    filters_are_joined_by_and,
    a_time_range_includes_its_start_and_not_its_end,
    a_local_date_is_a_date_in_the_auditoriums_zone,
    a_local_date_has_all_its_hours_when_clocks_change,
    cancelled_showtimes_are_listed_when_asked_for,
    a_cinema_and_states_are_filters_like_the_others,
    concurrent_lists_show_every_change_from_before_the_request,
    pages_join_to_the_whole_list_in_order_of_start,
    a_token_is_valid_for_its_own_filter_only,
    bad_filters_are_refused_by_field,
);

async fn filters_are_joined_by_and(world: World) {
    let here = create_auditorium(world.auditoriums()).await.auditorium_id;
    let there = create_auditorium(world.auditoriums()).await.auditorium_id;
    let mut created = BTreeMap::new();
    for (name, auditorium) in [("here", &here), ("there", &there)] {
        for (movie, movie_id, hours) in [("inception", INCEPTION, 0), ("redemption", "tt0111161", 5)] {
            let request = new_showtime(auditorium, in_hours(hours));
            let request = CreateShowtimeRequest { movie_id: movie_id.to_owned(), ..request };
            created.insert((name, movie), create(&world, request).await.showtime_id);
        }
    }
    let everything = ListShowtimesRequest::default();
    let in_here = ListShowtimesRequest { auditorium_id: here.clone(), ..everything.clone() };
    let inception = ListShowtimesRequest { movie_id: INCEPTION.to_owned(), ..everything.clone() };
    let both = ListShowtimesRequest { movie_id: INCEPTION.to_owned(), ..in_here.clone() };
    let late = ListShowtimesRequest { start_after: Some(timestamp(in_hours(1))), ..both.clone() };
    let nowhere = ListShowtimesRequest { auditorium_id: crate::harness::request_id(), ..everything.clone() };
    for (filter, expected) in [(everything, 4), (in_here, 2), (inception, 2), (both, 1), (late, 0), (nowhere, 0)] {
        assert_eq!(list(&world, filter.clone()).await.len(), expected, "{filter:?}");
    }
    let both = ListShowtimesRequest { auditorium_id: here, movie_id: INCEPTION.to_owned(), ..Default::default() };
    assert_eq!(ids(&list(&world, both).await), [&*created[&("here", "inception")]]);
}

async fn a_time_range_includes_its_start_and_not_its_end(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let mut created = Vec::new();
    for hours in [0, 3, 6] {
        created.push(create(&world, new_showtime(&auditorium, in_hours(hours))).await.showtime_id);
    }
    let microsecond = TimeDelta::microseconds(1);
    for (after, before, expected) in [
        (Some(in_hours(0)), Some(in_hours(6)), &created[..2]),
        (Some(in_hours(0) + microsecond), Some(in_hours(6) + microsecond), &created[1..]),
        (None, Some(in_hours(3)), &created[..1]),
        (Some(in_hours(3)), None, &created[1..]),
        (Some(in_hours(3)), Some(in_hours(3)), &[]),
    ] {
        let request = ListShowtimesRequest {
            start_after: after.map(timestamp),
            start_before: before.map(timestamp),
            ..Default::default()
        };
        assert_eq!(ids(&list(&world, request).await), expected, "{after:?} {before:?}");
    }
}

async fn a_local_date_is_a_date_in_the_auditoriums_zone(world: World) {
    let day = Clock::System.now().date_naive() + Days::new(10);
    let new_york = in_zone(&world, "America/New_York").await;
    let tokyo = in_zone(&world, "Asia/Tokyo").await;
    // 23:30 in New York is the next day in UTC; 00:30 in Tokyo is the day before.
    let late = local(chrono_tz::America::New_York, day, 23, 30);
    assert_ne!(late.date_naive(), day);
    let early = local(chrono_tz::Asia::Tokyo, day, 0, 30);
    assert_ne!(early.date_naive(), day);
    let mut expected = Vec::new();
    for (auditorium, start) in [(&tokyo, early), (&new_york, late)] {
        let showtime = create(&world, new_showtime(auditorium, start)).await;
        assert_eq!(showtime.local_date, day.to_string());
        expected.push(showtime.showtime_id);
    }
    // These showtimes are on the days before and after, in their zones.
    create(&world, new_showtime(&tokyo, early - TimeDelta::hours(3))).await;
    create(&world, new_showtime(&new_york, late + TimeDelta::hours(3))).await;
    let on = |date: NaiveDate, auditorium_id: &str| ListShowtimesRequest {
        local_date: date.to_string(),
        auditorium_id: auditorium_id.to_owned(),
        ..Default::default()
    };
    assert_eq!(ids(&list(&world, on(day, "")).await), expected);
    assert_eq!(ids(&list(&world, on(day, &new_york)).await), expected[1..]);
    assert_eq!(list(&world, on(day - Days::new(1), "")).await.len(), 1);
    assert_eq!(list(&world, on(day + Days::new(1), "")).await.len(), 1);
}

/// A day of 25 hours includes its first and its last hour, and excludes the hours around it.
async fn a_local_date_has_all_its_hours_when_clocks_change(world: World) {
    let zone = chrono_tz::America::New_York;
    let auditorium = in_zone(&world, zone.name()).await;
    let soon = Clock::System.now().date_naive() + Days::new(10);
    let has_25_hours =
        |day: &NaiveDate| local(zone, *day + Days::new(1), 0, 0) - local(zone, *day, 0, 0) > TimeDelta::hours(24);
    let day = soon.iter_days().take(400).find(has_25_hours).expect("clocks go back once a year");
    // Starts in the hour before the day, in its first and its 25th hour, and in the hour after it.
    for hours in [-1, 0, 24, 25] {
        let start = local(zone, day, 0, 0) + TimeDelta::hours(hours);
        let request = CreateShowtimeRequest { duration: Some(seconds(1800)), ..new_showtime(&auditorium, start) };
        let expected = start.with_timezone(&zone).date_naive();
        assert_eq!(create(&world, request).await.local_date, expected.to_string());
    }
    let request = ListShowtimesRequest { local_date: day.to_string(), ..Default::default() };
    let listed = list(&world, request).await;
    let starts: Vec<_> = listed.iter().filter_map(|showtime| showtime.start_time).collect();
    let midnight = local(zone, day, 0, 0);
    assert_eq!(starts, [timestamp(midnight), timestamp(midnight + TimeDelta::hours(24))]);
}

async fn cancelled_showtimes_are_listed_when_asked_for(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let cancelled = create(&world, new_showtime(&auditorium, in_hours(0))).await.showtime_id;
    let scheduled = create(&world, new_showtime(&auditorium, in_hours(5))).await.showtime_id;
    let request = CancelShowtimeRequest {
        showtime_id: cancelled.clone(),
        request_id: String::new(),
        force: false,
        expected_revision: 0,
    };
    world.showtimes().cancel_showtime(request).await.expect("the showtime is cancelled");
    let listed = list(&world, ListShowtimesRequest::default()).await;
    assert_eq!(ids(&listed), [&*scheduled]);
    let request = ListShowtimesRequest { include_cancelled: true, ..Default::default() };
    assert_eq!(ids(&list(&world, request).await), [&*cancelled, &*scheduled]);
}

async fn a_cinema_and_states_are_filters_like_the_others(world: World) {
    let mut showtimes = Vec::new();
    for cinema in ["Grand Palace", "Rex"] {
        let request = CreateAuditoriumRequest { cinema: cinema.to_owned(), ..new_auditorium() };
        let created = world.auditoriums().create_auditorium(request).await.expect("an auditorium").into_inner();
        let auditorium = created.auditorium.expect("the answer has the auditorium").auditorium_id;
        for hours in [0, 5] {
            showtimes.push(create(&world, new_showtime(&auditorium, in_hours(hours))).await.showtime_id);
        }
    }
    let cancel = CancelShowtimeRequest { showtime_id: showtimes[2].clone(), ..Default::default() };
    world.showtimes().cancel_showtime(cancel).await.expect("the showtime is cancelled");
    let filter = |cinema: &str, states: &[ShowtimeState]| ListShowtimesRequest {
        cinema: cinema.to_owned(),
        states: states.iter().map(|state| (*state).into()).collect(),
        ..Default::default()
    };
    let (scheduled, cancelled) = (ShowtimeState::Scheduled, ShowtimeState::Cancelled);
    for (request, expected) in [
        (filter("Grand Palace", &[]), &[0, 1][..]),
        (filter("Rex", &[]), &[3]),
        (filter("Rex", &[cancelled]), &[2]),
        (filter("Rex", &[scheduled, cancelled]), &[2, 3]),
        (filter("Nowhere", &[scheduled, cancelled]), &[]),
        (filter("", &[cancelled]), &[2]),
        (ListShowtimesRequest { include_cancelled: true, ..filter("Rex", &[scheduled]) }, &[3]),
        (ListShowtimesRequest { start_after: Some(timestamp(in_hours(3))), ..filter("Grand Palace", &[]) }, &[1]),
    ] {
        let listed = list(&world, request.clone()).await;
        let expected: Vec<&str> = expected.iter().map(|at| &*showtimes[*at]).collect();
        assert_eq!(ids(&listed), expected, "{request:?}");
        // Pages of one showtime join to the same list.
        let (mut request, mut joined) = (ListShowtimesRequest { page_size: 1, ..request }, Vec::new());
        loop {
            let (showtimes, next) = page(&world, request.clone()).await.expect("a page");
            joined.extend(showtimes.into_iter().map(|showtime| showtime.showtime_id));
            request.page_token = next;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(joined, expected, "{request:?}");
    }
}

async fn concurrent_lists_show_every_change_from_before_the_request(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    for number in 0..20 {
        let created = create(&world, new_showtime(&auditorium, in_hours(3 * number))).await;
        let calls = (0..16).map(|_| page(&world, ListShowtimesRequest::default()));
        for answer in futures_util::future::join_all(calls).await {
            let (listed, _) = answer.expect("a page");
            assert_eq!(listed.last(), Some(&created), "the page was read before the request");
        }
    }
}

async fn pages_join_to_the_whole_list_in_order_of_start(world: World) {
    let auditoriums = [
        create_auditorium(world.auditoriums()).await.auditorium_id,
        create_auditorium(world.auditoriums()).await.auditorium_id,
    ];
    // Two showtimes have each start time, so that pages also break between equal ones.
    for hours in [6, 0, 3] {
        for auditorium in &auditoriums {
            create(&world, new_showtime(auditorium, in_hours(hours))).await;
        }
    }
    let whole = list(&world, ListShowtimesRequest::default()).await;
    let starts: Vec<_> = whole.iter().filter_map(|showtime| showtime.start_time).map(|start| start.seconds).collect();
    assert!(starts.is_sorted() && starts.len() == 6, "{starts:?}");
    for page_size in [1, 3, 4, 6] {
        let mut joined = Vec::new();
        let mut request = ListShowtimesRequest { page_size, ..Default::default() };
        loop {
            let (page, token) = page(&world, request.clone()).await.expect("a page");
            assert!(!page.is_empty() && page.len() <= 6, "{page:?}");
            joined.extend(page);
            if token.is_empty() {
                break;
            }
            request.page_token = token;
        }
        assert_eq!(ids(&joined), ids(&whole), "in pages of {page_size}");
    }
    // A showtime that is added before the end of the page does not change the next page.
    let (_, token) = page(&world, ListShowtimesRequest { page_size: 3, ..Default::default() }).await.expect("a page");
    create(&world, new_showtime(&auditoriums[0], in_hours(-5))).await;
    let rest = ListShowtimesRequest { page_size: 50, page_token: token, ..Default::default() };
    assert_eq!(ids(&list(&world, rest).await), ids(&whole)[3..]);
}

async fn a_token_is_valid_for_its_own_filter_only(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    for hours in [0, 3] {
        create(&world, new_showtime(&auditorium, in_hours(hours))).await;
    }
    let filter = ListShowtimesRequest { auditorium_id: auditorium, page_size: 1, ..Default::default() };
    let (_, token) = page(&world, filter.clone()).await.expect("a page");
    let next = ListShowtimesRequest { page_token: token.clone(), ..filter };
    assert_eq!(page(&world, next.clone()).await.expect("the next page").0.len(), 1);
    for other in [
        ListShowtimesRequest { auditorium_id: String::new(), ..next.clone() },
        ListShowtimesRequest { movie_id: INCEPTION.to_owned(), ..next.clone() },
        ListShowtimesRequest { start_after: Some(timestamp(in_hours(0))), ..next.clone() },
        ListShowtimesRequest { start_before: Some(timestamp(in_hours(9))), ..next.clone() },
        ListShowtimesRequest { local_date: "2027-02-28".to_owned(), ..next.clone() },
        ListShowtimesRequest { include_cancelled: true, ..next.clone() },
        ListShowtimesRequest { page_token: tampered(&token, 0), ..next.clone() },
        ListShowtimesRequest { page_token: tampered(&token, token.len() / 2), ..next.clone() },
        ListShowtimesRequest { page_token: "x".repeat(513), ..next.clone() },
    ] {
        match page(&world, other.clone()).await {
            Err(status) => assert_violates(&status, &["page_token"]),
            Ok(_) => panic!("accepted: {other:?}"),
        }
    }
}

async fn bad_filters_are_refused_by_field(world: World) {
    let bad = ListShowtimesRequest {
        auditorium_id: "no".to_owned(),
        movie_id: "?".to_owned(),
        start_after: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        start_before: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        local_date: "28.2.2027".to_owned(),
        page_size: -1,
        // The token is only checked for its length: its content is compared with the filter, which is invalid here.
        page_token: "x".repeat(513),
        include_cancelled: false,
        cinema: "x".repeat(101),
        states: vec![0, 9],
    };
    let status = page(&world, bad).await.expect_err("every field is invalid");
    let fields = ["auditorium_id", "movie_id", "start_after", "start_before", "local_date", "page_size"];
    assert_violates(&status, &[&fields[..], &["page_token", "cinema", "states[0]", "states[1]"]].concat());
    let nonsense = ListShowtimesRequest { page_token: "nonsense".to_owned(), ..Default::default() };
    assert_violates(&page(&world, nonsense).await.expect_err("the token is malformed"), &["page_token"]);
    for invalid in ["2027-02-29", "2027-13-01", "0000-00-00", "2027-2-8", "２０２７-02-28"] {
        let request = ListShowtimesRequest { local_date: invalid.to_owned(), ..Default::default() };
        assert_violates(&page(&world, request).await.expect_err("there is no such day"), &["local_date"]);
    }
}

async fn in_zone(world: &World, zone: &str) -> String {
    let request = CreateAuditoriumRequest { time_zone: zone.to_owned(), ..new_auditorium() };
    let answer = world.auditoriums().create_auditorium(request).await.expect("the auditorium is created").into_inner();
    answer.auditorium.expect("the answer has the auditorium").auditorium_id
}

fn local(zone: Tz, day: NaiveDate, hour: u32, minute: u32) -> DateTime<Utc> {
    let time = NaiveTime::from_hms_opt(hour, minute, 0).expect("a time of day");
    zone.from_local_datetime(&day.and_time(time)).earliest().expect("the time exists in the zone").to_utc()
}

async fn create(world: &World, request: CreateShowtimeRequest) -> Showtime {
    let answer = world.showtimes().create_showtime(request).await.expect("the showtime is scheduled");
    answer.into_inner().showtime.expect("the answer has the showtime")
}

async fn list(world: &World, request: ListShowtimesRequest) -> Vec<Showtime> {
    let (listed, token) = page(world, request).await.expect("a list");
    assert_eq!(token, "", "there are more pages");
    listed
}

async fn page(world: &World, request: ListShowtimesRequest) -> Result<(Vec<Showtime>, String), Status> {
    let answer = world.showtimes().list_showtimes(request).await?.into_inner();
    Ok((answer.showtimes, answer.next_page_token))
}
