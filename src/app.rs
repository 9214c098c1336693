//! The use cases, as plain async methods of one concrete [`App`].
//!
//! A read is dropped with its caller. A change runs in a task of its own or in the ledger, so that a deadline or a lost
//! connection ends the wait and not the change. A shutdown waits for changes.

mod audit;
mod auditoriums;
mod blocked_seats;
mod decisions;
mod errors;
mod events;
mod movies;
mod operations;
mod origin;
mod pages;
mod purchases;
mod refunds;
mod reports;
mod reservation_index;
mod reservations;
mod sales;
mod sample;
mod seat_maps;
mod shared_reads;
mod showtime_pages;
mod showtimes;
mod tickets;

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

pub use audit::{Audit, Comparison, MAX_COUNTED, Sums};
pub use auditoriums::AuditoriumPage;
pub use blocked_seats::BlockChange;
pub use errors::{Error, FeedRefusal, KeyRefusal, Kind, PurchaseRefusal, Refused, ReportsRefusal, TicketRefusal};
pub use events::{EventFeed, EventSink, EventStart, EventStream};
pub use movies::MoviePage;
pub use operations::{DeadLetter, DeadLetters};
pub use origin::{Caller, Origin};
pub use pages::PageRequest;
pub use purchases::{
    BuyersPurchase, NamedPurchase, NewPurchase, NumberAndSecret, PaymentChoice, PaymentOptions, PaymentPage,
    PaymentSource, PurchasePage, PurchaseRef, PurchaseView, PurchaseWatch, StuckPage, StuckPurchase, Wanted,
};
pub use refunds::{NewRefund, RefundedPayment, StuckRefund, StuckRefundPage};
pub use reports::ReportPage;
pub use reservations::{
    Release, ReservationChange, ReservationPage, ReservationRef, ReservationView, Reserve, TillPayment,
};
pub use sales::{CashUp, CashUpLine};
pub use seat_maps::Ending;
pub use showtime_pages::ShowtimePage;
pub use tickets::{
    CodeFormat, DoorChanges, DoorList, DoorMessage, DoorWatch, DoubleAdmission, Drawn, ScanResult, Shown, TicketPage,
    TicketView, ToPrint, Upload, UsedTickets, Validated, ValidatedTickets,
};

/// Events as the feed delivers them.
pub use crate::feed::{
    Cursor, Delivery, Entry, Filter as EventFilter, KINDS as EVENT_KINDS, MAX_SUBSCRIBERS, NAMESPACE, Row as EventRow,
};
/// Seat maps as the ledger shows them.
pub use crate::ledger::{Encoding, Frame, Snapshot, Watch, WatchMessage};
/// Reports as the reporting database has them.
pub use crate::reports::{
    HoldCount, Occupancy, ReportDays, ReportFilter, ReportState, Sales, SalesGroup, Seen, hold_outcome,
};
/// What the store reads, and the key under which the answer to a change is stored, so that a repeated request finds it.
pub use crate::store::{
    BlockedSeats, BlockedSeatsAt, PurchaseFilter, RequestKey, SoldLines, StoredKey, StoredPayment, TicketFilter,
};

use crate::{
    clock::Clock, domain::seating, feed::Feed, ledger::Ledger, reports::Reader, store::Store, telemetry::panics,
    tickets::PurchaseKey, upstream::Movies,
};
use pages::Pages;
use purchases::parts::Purchases;
use refunds::work::Refunds;
use reservation_index::ReservationIndex;
use showtime_pages::ShowtimePages;
use tickets::{
    keys::{Keys, open_purchase_key},
    watched_lists::Doors,
};

/// The rules of a deployment.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long seats are held, unless their showtime has a hold duration of its own.
    pub hold_duration: Duration,
    /// How long an auditorium stays empty between two showtimes.
    pub turnaround: Duration,
    /// How long before the start of a showtime tickets admit their holders.
    pub doors_open: Duration,
    /// The rules by which the ledger decides.
    pub seating: seating::Rules,
}

/// The service without its transport. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    store: Store,
    movies: Movies,
    ledger: Ledger,
    feed: Feed,
    reports: Option<Reader>,
    clock: Clock,
    rules: Rules,
    pages: Pages,
    keys: Keys,
    doors: Doors,
    purchase_key: PurchaseKey,
    purchases: Purchases,
    refunds: Refunds,
    reservation_index: ReservationIndex,
    showtime_pages: ShowtimePages,
    tasks: TaskTracker,
}

/// The answer to a change.
#[derive(Debug)]
pub struct Answer<T> {
    /// The result of the change.
    pub value: T,
    /// Whether this is the stored answer to an earlier request with the same request id. Nothing was changed this time.
    pub repeated: bool,
}

/// The setting that holds the key of page tokens, which all instances share.
const PAGE_KEY: &str = "page_token_key";

impl App {
    /// Puts the parts together. Without a reader there are no reports.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn new(
        (store, movies, ledger, feed): (Store, Movies, Ledger, Feed),
        reports: Option<Reader>,
        payments: PaymentOptions,
        clock: Clock,
        rules: Rules,
    ) -> Result<Self, Error> {
        let keys = Keys::open(&store, &clock).await?;
        let purchase_key = open_purchase_key(&store, &clock).await?;
        let (purchases, refunds) = (Purchases::new(payments), Refunds::default());
        let pages = Pages::new(&store.setting_or_insert(PAGE_KEY, &clock.secret()).await?);
        let (reservation_index, showtime_pages, tasks) =
            (ReservationIndex::new(), ShowtimePages::new(), TaskTracker::new());
        Ok(Self(Arc::new(Inner {
            store,
            movies,
            ledger,
            feed,
            reports,
            clock,
            rules,
            pages,
            keys,
            doors: Doors::default(),
            purchase_key,
            purchases,
            refunds,
            reservation_index,
            showtime_pages,
            tasks,
        })))
    }

    /// The clock of the use cases.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The rules of this deployment.
    #[must_use]
    pub fn rules(&self, _origin: &Origin) -> &Rules {
        &self.0.rules
    }

    /// Waits until all changes have finished. New ones can begin until the listeners are closed.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.ledger.drain().await;
    }

    /// Deletes stored answers older than 26 hours. Returns their number.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn delete_old_answers(&self) -> Result<u64, Error> {
        let mut deleted = 0;
        loop {
            match self.0.store.delete_old_answers(self.0.clock.now()).await? {
                0 => return Ok(deleted),
                some => deleted += some,
            }
        }
    }

    /// Runs a change to its end, even if its caller leaves.
    fn detached<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        use tracing::Instrument as _;
        // Boxed, because it is large and would be part of the future of every caller.
        let change = Box::pin(change);
        let (sender, receiver) = oneshot::channel();
        let work = async move {
            // A panic is logged once: by the handler, with the request's id, or here if the caller has left.
            if let Err(Err(report)) = sender.send(panics::catch_async(change).await) {
                panics::report(&report);
            }
        };
        drop(self.0.tasks.spawn(work.in_current_span()));
        async {
            match receiver.await {
                Ok(Ok(done)) => done,
                Ok(Err(panic)) => Err(Error::Lost(panic)),
                Err(lost) => Err(Error::Lost(lost.to_string())),
            }
        }
    }
}
