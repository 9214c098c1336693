//! What devices have admitted without a network.
//!
//! The holder of a scanned ticket is inside already, so a scan is recorded whatever is wrong with the ticket. It uses the ticket, unless that
//! was used before. A ticket that was used before has admitted two people: this is flagged, and the flag is stored.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Shown, TicketView, doors::is_same};
use crate::{
    app::{App, Error, Origin},
    domain::{
        ids::TicketId,
        number::TicketNumber,
        ticket::{RecordedScan, Scan, ScanText, Ticket, TicketCode, TicketUse, WhyNot},
    },
};

/// What was found when a scan was recorded.
#[derive(Clone, Debug)]
pub struct ScanResult {
    /// The device's name for the use.
    pub nonce: String,
    /// The ticket as it is now. `None`: there is none.
    pub ticket: Option<TicketView>,
    /// What was in the way.
    pub why: Vec<WhyNot>,
    /// Whether the ticket had been used already.
    pub is_double: bool,
}

/// A ticket that has admitted more than one person.
#[derive(Clone, Debug)]
pub struct DoubleAdmission {
    /// The ticket.
    pub ticket: TicketView,
    /// Who was admitted with it, in the order of time.
    pub uses: Vec<TicketUse>,
}

/// The tickets of a scan.
#[derive(Default)]
struct Scanned {
    /// Whether what was shown is accepted. The key of a purchase's code may be retired.
    is_accepted: bool,
    /// A ticket for each person who was admitted. None: the text is the code or the number of nothing.
    admitted: Vec<Admitted>,
}

/// The ticket that admitted a person.
struct Admitted {
    ticket: Ticket,
    /// Whether the same scan has admitted somebody else with it.
    is_again: bool,
}

/// What became of scans.
#[derive(Clone, Debug)]
pub struct Upload {
    /// A result for each ticket of each scan, in the order of the scans.
    pub results: Vec<ScanResult>,
    /// The tickets that have admitted more than one person.
    pub doubles: Vec<DoubleAdmission>,
}

impl App {
    /// Records scans. Those that are recorded already get the same results.
    ///
    /// # Errors
    /// The store fails. What was recorded until then stays so.
    pub async fn upload_scans(&self, _origin: &Origin, device: String, scans: Vec<Scan>) -> Result<Upload, Error> {
        let app = self.clone();
        self.detached(async move { app.record_scans(&device, &scans).await }).await
    }

    async fn record_scans(&self, device: &str, scans: &[Scan]) -> Result<Upload, Error> {
        let ids: Vec<_> = scans.iter().map(|scan| scan.id(device)).collect();
        let mut recorded: HashMap<Uuid, Vec<RecordedScan>> = HashMap::new();
        for scan in self.0.store.scans(&ids).await? {
            recorded.entry(scan.scan_id).or_default().push(scan);
        }
        let mut in_order: Vec<_> = scans.iter().zip(&ids).collect();
        in_order.sort_by_key(|(scan, _)| scan.time);
        for (scan, id) in in_order {
            if !recorded.contains_key(id) {
                recorded.insert(*id, self.record_scan(device, scan, *id).await?);
            }
        }
        let in_order = ids.iter().filter_map(|id| recorded.get(id)).flatten().cloned();
        self.result_of(in_order.collect()).await
    }

    async fn record_scan(&self, device: &str, scan: &Scan, id: Uuid) -> Result<Vec<RecordedScan>, Error> {
        let by = TicketUse { time: scan.time, device: device.to_owned(), nonce: scan.nonce.clone() };
        let (mut used_by, mut attempt) = (by.clone(), 0);
        loop {
            let Scanned { is_accepted, admitted } = self.scanned(scan, &by).await?;
            let mut parts = Vec::new();
            for (part, admitted) in (0..).zip(admitted) {
                let use_now = (admitted.ticket.used.is_none() && !admitted.is_again).then(|| used_by.clone());
                parts.push((self.part(scan, (id, part), (is_accepted, admitted), &by).await?, use_now));
            }
            if parts.is_empty() {
                let without_ticket = recorded(scan, (id, 0), &by, self.0.clock.now());
                parts.push((RecordedScan { why: vec![WhyNot::NotGenuine], ..without_ticket }, None));
            }
            match self.0.store.record_scan(&parts).await.map_err(Error::from) {
                Ok(true) => {
                    let recorded: Vec<_> = parts.into_iter().map(|(scan, _)| scan).collect();
                    for RecordedScan { ticket_id, device, .. } in recorded.iter().filter(|scan| scan.is_double) {
                        let ticket_id = ticket_id.map(tracing::field::display);
                        tracing::warn!(ticket_id, device, "a ticket has admitted more than one person");
                    }
                    return Ok(recorded);
                }
                // Another device has used a ticket meanwhile.
                Ok(false) => {}
                Err(error) if error.is_taken_key() => {
                    let by_another_call = self.0.store.scans(&[id]).await?;
                    if !by_another_call.is_empty() {
                        return Ok(by_another_call);
                    }
                    // The device has used its nonce for another ticket. The scan is recorded all the same.
                    attempt += 1;
                    used_by.nonce = format!("{id}/{attempt}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The tickets that were scanned.
    async fn scanned(&self, scan: &Scan, by: &TicketUse) -> Result<Scanned, Error> {
        let shown = match &scan.shown {
            ScanText::Code(text) => TicketCode::parse(text).is_ok().then(|| Shown::Code(text.clone())),
            ScanText::Number(text) => TicketNumber::parse(text).ok().map(Shown::Number),
        };
        let Some(shown) = shown else { return Ok(Scanned::default()) };
        let Some(code) = shown.purchase_code() else {
            let ticket = self.find_shown(&shown).await?.into_iter().collect();
            return Ok(Scanned { is_accepted: true, admitted: admitted(ticket, by, scan.count) });
        };
        let Some(id) = self.purchase_with_code(&code).await? else { return Ok(Scanned::default()) };
        let tickets = self.tickets_for_seats(id).await?;
        let is_accepted = self.0.keys.accepts(code.key_id());
        Ok(Scanned { is_accepted, admitted: admitted(tickets, by, scan.count) })
    }

    /// What is recorded of a scan with one of its tickets.
    async fn part(
        &self,
        scan: &Scan,
        id: (Uuid, i16),
        (is_accepted, Admitted { ticket, is_again }): (bool, Admitted),
        by: &TicketUse,
    ) -> Result<RecordedScan, Error> {
        // A use whose answer was lost is uploaded as a scan.
        let is_double = is_again || ticket.used.as_ref().is_some_and(|used| !is_same(used, by));
        let mut why = self.why_not(&ticket, &*self.plan_of(ticket.showtime_id).await?, scan.time);
        why.retain(|why| *why != WhyNot::Used || is_double);
        if is_again && !why.contains(&WhyNot::Used) {
            why.push(WhyNot::Used);
        }
        if !is_accepted && !why.contains(&WhyNot::NotGenuine) {
            why.insert(0, WhyNot::NotGenuine);
        }
        let as_scanned = recorded(scan, id, by, self.0.clock.now());
        Ok(RecordedScan { ticket_id: Some(ticket.ticket_id), why, is_double, ..as_scanned })
    }

    /// The result of scans that are recorded.
    async fn result_of(&self, scans: Vec<RecordedScan>) -> Result<Upload, Error> {
        let ids: HashSet<_> = scans.iter().filter_map(|scan| scan.ticket_id).collect();
        let found = self.0.store.tickets_by_ids(&ids.into_iter().collect::<Vec<_>>()).await?;
        let views = self.view_tickets(found).await?.into_iter();
        let tickets: HashMap<_, _> = views.map(|view| (view.ticket.ticket_id, view)).collect();
        let mut flagged: Vec<TicketId> = Vec::new();
        for id in scans.iter().filter(|scan| scan.is_double).filter_map(|scan| scan.ticket_id) {
            if !flagged.contains(&id) {
                flagged.push(id);
            }
        }
        let all = self.0.store.scans_of(&flagged).await?;
        let doubles = flagged.iter().filter_map(|id| {
            let ticket = tickets.get(id)?.clone();
            let uses = uses(&ticket.ticket, all.iter().filter(|scan| scan.ticket_id == Some(*id)));
            Some(DoubleAdmission { ticket, uses })
        });
        let doubles = doubles.collect();
        let result = |scan: RecordedScan| ScanResult {
            ticket: scan.ticket_id.and_then(|id| tickets.get(&id).cloned()),
            nonce: scan.nonce,
            why: scan.why,
            is_double: scan.is_double,
        };
        Ok(Upload { results: scans.into_iter().map(result).collect(), doubles })
    }
}

/// The tickets that have admitted people, of those of a ticket's or a purchase's code. First those that the device has used under this nonce,
/// if their answer was lost, then those that are not used, then the others. People beyond all of them come with the first ones again.
fn admitted(mut tickets: Vec<Ticket>, by: &TicketUse, count: u32) -> Vec<Admitted> {
    let order = |ticket: &Ticket| match &ticket.used {
        Some(used) if is_same(used, by) => 0,
        None => 1,
        Some(_) => 2,
    };
    tickets.sort_by_key(order);
    let all = tickets.len();
    let count = match count {
        0 => tickets.first().map_or(0, |first| tickets.iter().filter(|ticket| order(ticket) == order(first)).count()),
        count => count as usize,
    };
    let people = tickets.into_iter().cycle().take(count).enumerate();
    people.map(|(at, ticket)| Admitted { ticket, is_again: at >= all }).collect()
}

/// A scan as it is recorded if there is no ticket.
fn recorded(scan: &Scan, (scan_id, part): (Uuid, i16), by: &TicketUse, upload_time: DateTime<Utc>) -> RecordedScan {
    RecordedScan {
        scan_id,
        part,
        device: by.device.clone(),
        nonce: scan.nonce.clone(),
        shown: scan.shown.as_str().to_owned(),
        scan_time: scan.time,
        upload_time,
        ticket_id: None,
        why: Vec::new(),
        is_double: false,
    }
}

/// All uses of a ticket, in the order of time: that which is written on it, and those by which it was used again.
fn uses<'a>(ticket: &Ticket, scans: impl Iterator<Item = &'a RecordedScan>) -> Vec<TicketUse> {
    let by = |scan: &RecordedScan| TicketUse {
        time: scan.scan_time,
        device: scan.device.clone(),
        nonce: scan.nonce.clone(),
    };
    let (again, first): (Vec<_>, Vec<_>) = scans.partition(|scan| scan.is_double);
    // If the device had used its nonce before, the ticket has another one than the scan.
    let is_written =
        |used: &TicketUse, scan: &RecordedScan| (used.time, &used.device) == (scan.scan_time, &scan.device);
    let written = ticket.used.iter().map(|used| match first.iter().find(|scan| is_written(used, scan)) {
        Some(scan) => by(scan),
        None => used.clone(),
    });
    let mut uses: Vec<_> = written.chain(again.into_iter().map(by)).collect();
    uses.sort_by_key(|used| used.time);
    uses
}
