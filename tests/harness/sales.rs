//! Random sales: holds, confirmations, cancellations, extensions, exchanges, seats that are given back, money that comes late,
//! cancelled showtimes, the same for the same seed.

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, CreateAuditoriumRequest, CreateShowtimeRequest, Reservation, ReservationState, Showtime,
};
use tonic::Status;

use super::{
    Server, eventually, in_hours, new_auditorium, new_showtime,
    reporting::reservations,
    requests::{layout, money, seconds},
    seats::{HALL, best, cancel, confirm, extend, get, name, reserve},
    staff::{confirm_late, exchange, release},
};

/// Movies that every demo provider has.
const MOVIES: [&str; 2] = ["tt1375666", "tt0111161"];

/// A source of numbers that are the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `most`.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.max(1) as u64) as usize
    }
}

/// Showtimes of two movies in two cinemas, in two currencies and two time zones. Holds of the last one lapse after a second.
pub(crate) async fn schedule(server: &Server) -> Vec<Showtime> {
    let mut showtimes = Vec::new();
    for (at, (zone, currency)) in [("Europe/Madrid", "EUR"), ("Asia/Tokyo", "JPY")].into_iter().enumerate() {
        let request =
            CreateAuditoriumRequest { time_zone: zone.to_owned(), layout: Some(layout(&HALL)), ..new_auditorium() };
        let answer = server.auditoriums().create_auditorium(request).await.expect("an auditorium is created");
        let auditorium = answer.into_inner().auditorium.expect("the answer has the auditorium").auditorium_id;
        for hour in 0..3 {
            let request = CreateShowtimeRequest {
                movie_id: MOVIES[(at + hour) % 2].to_owned(),
                price: Some(money(currency, 900 + hour as i64, 0)),
                hold_duration: (hour == 2).then(|| seconds(1)),
                ..new_showtime(&auditorium, in_hours(8 * hour as i64))
            };
            let answer = server.showtimes().create_showtime(request).await.expect("the slot is free");
            showtimes.push(answer.into_inner().showtime.expect("the answer has the showtime"));
        }
    }
    showtimes
}

/// Does so many random things to these showtimes. What is refused is left out.
pub(crate) async fn sell(server: &Server, showtimes: &[Showtime], dice: &mut Dice, steps: usize) {
    let mut made: Vec<Reservation> = Vec::new();
    for step in 0..steps {
        let chosen = dice.below(made.len());
        match (dice.below(15), made.get(chosen)) {
            (0..4, Some(reservation)) => drop(confirm(server, reservation).await),
            (4..6, Some(reservation)) => drop(cancel(server, reservation).await),
            (6, Some(reservation)) => drop(extend(server, reservation).await),
            (7, Some(reservation)) => drop(confirm_late(server, reservation, "card").await),
            (8, Some(reservation)) => drop(give_back(server, reservation, dice).await),
            (9..11, Some(reservation)) => drop(move_somewhere(server, reservation, dice).await),
            _ => {
                let showtime = &showtimes[dice.below(showtimes.len())];
                let seats = 1 + dice.below(3) as i32;
                let customer = format!("customer {step} {}", dice.below(1_000_000));
                made.extend(reserve(server, best(showtime, &customer, seats)).await);
            }
        }
    }
}

/// Gives back a seat that the reservation has, or all.
async fn give_back(server: &Server, reservation: &Reservation, dice: &mut Dice) -> Result<Reservation, Status> {
    let has = get(server, reservation).await?.seats;
    let chosen = has.get(dice.below(has.len() + 1)).map(name).unwrap_or_default();
    release(server, reservation, &chosen).await
}

/// Exchanges the seats of a reservation for others of the last row.
async fn move_somewhere(server: &Server, reservation: &Reservation, dice: &mut Dice) -> Result<Reservation, Status> {
    let count = get(server, reservation).await?.seats.len();
    let first = 1 + dice.below(9_usize.saturating_sub(count));
    let seats: Vec<_> = (first..first + count).map(|number| format!("D{number}")).collect();
    exchange(server, reservation, &seats.join(" ")).await
}

/// Waits until the holds have lapsed that last a second. One that was extended lasts longer.
pub(crate) async fn lapse(server: &Server, showtimes: &[Showtime]) {
    let short = showtimes.iter().filter(|showtime| showtime.hold_duration == Some(seconds(1)));
    for Showtime { showtime_id, .. } in short {
        eventually("the holds lapse", async || {
            let all = reservations(server, showtime_id).await;
            let lasts =
                |reservation: &Reservation| reservation.extended || reservation.state() != ReservationState::Held;
            all.iter().all(lasts).then_some(())
        })
        .await;
    }
}

/// Cancels a showtime and its sales.
pub(crate) async fn cancel_showtime(server: &Server, showtime: &Showtime) {
    let request = CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        force: true,
        ..CancelShowtimeRequest::default()
    };
    server.showtimes().cancel_showtime(request).await.expect("the showtime is scheduled");
}
