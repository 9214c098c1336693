//! Scans as they are stored.

use crate::{
    domain::{
        ids::TicketId,
        ticket::{RecordedScan, WhyNot},
    },
    store::{entities::scan, errors::Error},
};

const ALL: [(WhyNot, &str); 8] = [
    (WhyNot::NotGenuine, "not_genuine"),
    (WhyNot::WrongShowtime, "wrong_showtime"),
    (WhyNot::Voided, "voided"),
    (WhyNot::Refunded, "refunded"),
    (WhyNot::Blocked, "blocked"),
    (WhyNot::TooEarly, "too_early"),
    (WhyNot::TooLate, "too_late"),
    (WhyNot::Used, "used"),
];

/// The row of a scan.
pub(in crate::store) fn row(scan: &RecordedScan) -> scan::Model {
    let names = ALL.iter().filter(|(why, _)| scan.why.contains(why)).map(|(_, name)| *name);
    scan::Model {
        scan_id: scan.scan_id,
        part: scan.part,
        device: scan.device.clone(),
        nonce: scan.nonce.clone(),
        shown: scan.shown.clone(),
        scan_time: scan.scan_time,
        upload_time: scan.upload_time,
        ticket_id: scan.ticket_id.map(|id| id.0),
        why: names.collect::<Vec<_>>().join(","),
        is_double: scan.is_double,
    }
}

/// Reads a scan.
pub(in crate::store) fn scan(row: scan::Model) -> Result<RecordedScan, Error> {
    let named = |name: &str| ALL.iter().find(|(_, one)| *one == name).map(|(why, _)| *why);
    let why: Option<Vec<_>> = row.why.split(',').filter(|name| !name.is_empty()).map(named).collect();
    let unreadable =
        || Error::Unreadable { table: "scans", key: row.scan_id.to_string(), why: "a flaw is unknown".to_owned() };
    Ok(RecordedScan {
        why: why.ok_or_else(unreadable)?,
        scan_id: row.scan_id,
        part: row.part,
        device: row.device,
        nonce: row.nonce,
        shown: row.shown,
        scan_time: row.scan_time,
        upload_time: row.upload_time,
        ticket_id: row.ticket_id.map(TicketId),
        is_double: row.is_double,
    })
}
