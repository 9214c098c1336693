//! Use cases of seats that are kept back from sale.

use std::sync::Arc;

use super::{Answer, App, Error, Origin, decisions::Accepted};
use crate::{
    domain::{
        ids::ShowtimeId,
        seat_index::SeatName,
        seating::{Blockage, Command, ShowtimePlan},
    },
    store::BlockedSeatsAt,
};

/// Seats that were blocked or unblocked.
#[derive(Clone, Debug)]
pub struct BlockChange {
    /// The numbers of the seats.
    pub seats: Vec<u16>,
    /// The showtime, and the seats of its auditorium.
    pub plan: Arc<ShowtimePlan>,
    /// The showtime's revision that made the change.
    pub revision: i64,
}

impl App {
    /// Keeps seats back from sale.
    ///
    /// # Errors
    /// There is no such showtime, a seat is not free, or the store fails.
    pub async fn block_seats(
        &self,
        origin: &Origin,
        showtime_id: ShowtimeId,
        seats: Vec<SeatName>,
        blockage: Blockage,
    ) -> Result<Answer<BlockChange>, Error> {
        let command = Command::Block { seats: seats.clone(), blockage };
        self.change_blocked(origin, showtime_id, command, &seats).await
    }

    /// Gives blocked seats back to sale.
    ///
    /// # Errors
    /// There is no such showtime, a seat is not blocked, or the store fails.
    pub async fn unblock_seats(
        &self,
        origin: &Origin,
        showtime_id: ShowtimeId,
        seats: Vec<SeatName>,
    ) -> Result<Answer<BlockChange>, Error> {
        let command = Command::Unblock { seats: seats.clone() };
        self.change_blocked(origin, showtime_id, command, &seats).await
    }

    /// Reads the blocked seats of a showtime.
    ///
    /// # Errors
    /// There is no such showtime, or the store fails.
    pub async fn blocked_seats(
        &self,
        _origin: &Origin,
        id: ShowtimeId,
    ) -> Result<(Arc<ShowtimePlan>, BlockedSeatsAt), Error> {
        let found = self.0.store.blocked_seats(id).await?.zip(self.0.store.plan(id).await?);
        found.map(|(blocked, plan)| (plan, blocked)).ok_or_else(|| Error::no_showtime(id))
    }

    async fn change_blocked(
        &self,
        origin: &Origin,
        showtime_id: ShowtimeId,
        command: Command,
        seats: &[SeatName],
    ) -> Result<Answer<BlockChange>, Error> {
        let reply = self.decide(origin.command(showtime_id, command)).await?;
        let reply = reply.ok_or_else(|| Error::no_showtime(showtime_id))?;
        let Accepted { plan, revision, repeated, .. } = Accepted::read(reply, None)?;
        // The seats were known when the command was accepted.
        let seats = plan.seat_index.numbers(seats).map_err(|bad| Error::Invalid(bad.violations))?;
        Ok(Answer { value: BlockChange { seats, plan, revision }, repeated })
    }
}
