//! What one may ask: the use cases, as plain async methods on one concrete `App`.
//!
//! Callers may leave at any time. Reads end with them; what changes state runs in a task of its own or is the ledger's, so
//! that a deadline or a lost connection never tears it, and shutting down waits for it.

mod auditoriums;
mod errors;
mod movies;
mod origin;
mod pages;
mod reservation_index;
mod reservations;
mod sample;
mod seat_maps;
mod shared_reads;
mod showtime_pages;
mod showtimes;

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

pub use auditoriums::AuditoriumPage;
pub use errors::{Error, Kind, Refused};
pub use movies::MoviePage;
pub use origin::{Caller, Origin};
pub use pages::PageRequest;
pub use reservations::{ReservationChange, ReservationPage, ReservationRef, ReservationView, Reserve};
pub use seat_maps::Ended;
pub use showtime_pages::ShowtimePage;

/// Seat maps, as they are shown.
pub use crate::ledger::{Encoding, Frame, Snapshot, Watch, WatchMessage};
/// What a caller is named by so that a mutation's retry finds the answer of the first try.
pub use crate::store::RequestKey;

use crate::{clock::Clock, domain::seating, ledger::Ledger, store::Store, telemetry::panics, upstream::Movies};
use pages::Pages;
use reservation_index::ReservationIndex;
use showtime_pages::ShowtimePages;

/// The rules of a deployment.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long seats are held, unless their showtime has a hold duration of its own.
    pub hold_duration: Duration,
    /// How long an auditorium stays empty between two showtimes.
    pub turnaround: Duration,
    /// The rules by which the ledger decides.
    pub seating: seating::Rules,
}

/// The service, without a wire. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    store: Store,
    movies: Movies,
    ledger: Ledger,
    clock: Clock,
    rules: Rules,
    pages: Pages,
    reservation_index: ReservationIndex,
    showtime_pages: ShowtimePages,
    tasks: TaskTracker,
}

/// An answer to a mutation, and whether it is the answer of an earlier try.
#[derive(Debug)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// Whether nothing was done this time.
    pub replayed: bool,
}

/// The setting that holds the key of page tokens, which all instances share.
const PAGE_KEY: &str = "page_token_key";

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    /// The store cannot be asked for what all instances share.
    pub async fn new(store: Store, movies: Movies, ledger: Ledger, clock: Clock, rules: Rules) -> Result<Self, Error> {
        let pages = Pages::new(&store.setting_or_insert(PAGE_KEY, &clock.secret()).await?);
        let (reservation_index, showtime_pages, tasks) =
            (ReservationIndex::new(), ShowtimePages::new(), TaskTracker::new());
        Ok(Self(Arc::new(Inner {
            store,
            movies,
            ledger,
            clock,
            rules,
            pages,
            reservation_index,
            showtime_pages,
            tasks,
        })))
    }

    /// The clock that everything here goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The rules of this deployment.
    #[must_use]
    pub fn rules(&self, _origin: &Origin) -> &Rules {
        &self.0.rules
    }

    /// Waits for the changes under way; new ones may still begin until the listeners are closed.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.ledger.drain().await;
    }

    /// Forgets the answers that no retry may still ask for.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn tidy(&self) -> Result<u64, Error> {
        let mut forgotten = 0;
        loop {
            match self.0.store.delete_old_answers(self.0.clock.now()).await? {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    /// Runs a change to its end, whatever becomes of its caller.
    fn detached<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        use tracing::Instrument as _;
        // Boxed at once: it is large, and each of those who wait for it would have room for it.
        let change = Box::pin(change);
        let (tell, told) = oneshot::channel();
        let work = async move {
            // A panic is told once: with its request's id by whoever answers the caller, here if there is no caller.
            if let Err(Err(report)) = tell.send(panics::catch_async(change).await) {
                panics::report(&report);
            }
        };
        drop(self.0.tasks.spawn(work.in_current_span()));
        async {
            match told.await {
                Ok(Ok(done)) => done,
                Ok(Err(panic)) => Err(Error::Lost(panic)),
                Err(lost) => Err(Error::Lost(lost.to_string())),
            }
        }
    }
}
