//! What devices have admitted without a network.
//!
//! The holder of a scanned ticket is inside already, so a scan is recorded whatever is wrong with the ticket. It uses the ticket, unless that
//! was used before. A ticket that was used before has admitted two people: this is flagged, and the flag is stored.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Shown, TicketView};
use crate::{
    app::{App, Error, Origin},
    domain::{
        ids::{PurchaseId, TicketId},
        number::TicketNumber,
        ticket::{Admission, RecordedScan, Scan, ScanText, Ticket, TicketCode, TicketUse, WhyNot},
    },
    store::TicketFilter,
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
        let (mut nonce, mut attempt) = (scan.nonce.clone(), 0);
        loop {
            let by = TicketUse { time: scan.time, device: device.to_owned(), nonce: nonce.clone() };
            let mut parts = Vec::new();
            for (part, found) in (0..).zip(self.scanned(scan, &by.device).await?) {
                parts.push(self.part(scan, (id, part), found, &by).await?);
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
                    nonce = format!("{id}/{attempt}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The tickets that were scanned, each with whether its key is accepted. None: the text is the code or number of nothing. The code of a
    /// purchase stands for its tickets that the device has used under this nonce, if their answer was lost; else for those that are not
    /// used, or if all are, for all of them.
    async fn scanned(&self, scan: &Scan, device: &str) -> Result<Vec<(bool, Ticket)>, Error> {
        let shown = match &scan.shown {
            ScanText::Code(text) => TicketCode::parse(text).is_ok().then(|| Shown::Code(text.clone())),
            ScanText::Number(text) => TicketNumber::parse(text).ok().map(Shown::Number),
        };
        let Some(shown) = shown else { return Ok(Vec::new()) };
        let Some(code) = shown.purchase_code() else {
            return Ok(self.find_shown(&shown).await?.into_iter().collect());
        };
        let Some(id) = code.purchase().map(PurchaseId).filter(|id| self.is_genuine(&code, *id)) else {
            return Ok(Vec::new());
        };
        let mut live = self.0.store.live_tickets(id).await?;
        if live.is_empty() {
            let newest = TicketFilter { purchase_id: Some(id), ..TicketFilter::default() };
            live = self.0.store.tickets(&newest, None, 1).await?;
        }
        let is_own = |used: &TicketUse| (used.device.as_str(), &used.nonce) == (device, &scan.nonce);
        if live.iter().any(|ticket| ticket.used.as_ref().is_some_and(is_own)) {
            live.retain(|ticket| ticket.used.as_ref().is_some_and(is_own));
        } else if live.iter().any(|ticket| ticket.used.is_none()) {
            live.retain(|ticket| ticket.used.is_none());
        }
        live.sort_unstable_by_key(|ticket| ticket.seat);
        Ok(live.into_iter().map(|ticket| (self.0.keys.accepts(ticket.code.key_id()), ticket)).collect())
    }

    /// What is recorded of a scan with one of its tickets, and the use of the ticket if it has none.
    async fn part(
        &self,
        scan: &Scan,
        id: (Uuid, i16),
        (is_accepted, ticket): (bool, Ticket),
        by: &TicketUse,
    ) -> Result<(RecordedScan, Option<TicketUse>), Error> {
        let plan = self.0.store.plan(ticket.showtime_id).await?;
        let plan = plan.ok_or_else(|| Error::no_showtime(ticket.showtime_id))?;
        let admission = Admission::of(plan.facts.start_time, plan.facts.end_time, self.0.rules.doors_open);
        // A use whose answer was lost is uploaded as a scan.
        let is_own = |used: &TicketUse| (&used.device, &used.nonce) == (&by.device, &scan.nonce);
        let is_double = ticket.used.as_ref().is_some_and(|used| !is_own(used));
        let mut why = ticket.why_not(ticket.showtime_id, admission, scan.time);
        why.retain(|why| *why != WhyNot::Used || is_double);
        if !is_accepted {
            why.insert(0, WhyNot::NotGenuine);
        }
        let as_scanned = recorded(scan, id, by, self.0.clock.now());
        let recorded = RecordedScan { ticket_id: Some(ticket.ticket_id), why, is_double, ..as_scanned };
        Ok((recorded, ticket.used.is_none().then(|| by.clone())))
    }

    /// The result of scans that are recorded.
    async fn result_of(&self, scans: Vec<RecordedScan>) -> Result<Upload, Error> {
        let ids: HashSet<_> = scans.iter().filter_map(|scan| scan.ticket_id).collect();
        let mut tickets = HashMap::new();
        for ticket in self.0.store.tickets_by_ids(&ids.into_iter().collect::<Vec<_>>()).await? {
            tickets.insert(ticket.ticket_id, self.view_ticket(ticket).await?);
        }
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

/// All uses of a ticket, in the order of time: that which is written on it, and those of its scans.
fn uses<'a>(ticket: &Ticket, scans: impl Iterator<Item = &'a RecordedScan>) -> Vec<TicketUse> {
    let scans = scans.map(|scan| (format!("{}/", scan.scan_id), scan));
    let mut uses: Vec<_> = ticket.used.iter().cloned().collect();
    for (id, scan) in scans {
        let by = TicketUse { time: scan.scan_time, device: scan.device.clone(), nonce: scan.nonce.clone() };
        let is_written_on_it =
            |used: &TicketUse| used.device == by.device && (used.nonce == by.nonce || used.nonce.starts_with(&id));
        if !ticket.used.as_ref().is_some_and(is_written_on_it) {
            uses.push(by);
        }
    }
    uses.sort_by_key(|used| used.time);
    uses
}
