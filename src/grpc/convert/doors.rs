//! Lists of doors, and scans.

use super::{
    common::finish,
    seats::seat,
    tickets::{code_or_number, flaw, showtime, state, ticket, ticket_type},
    values::{required, time, timestamp},
};
use crate::{
    app::{DoorChanges, DoorList, DoorMessage, DoubleAdmission, ScanResult, Upload},
    domain::{
        ids::ShowtimeId,
        seating::ShowtimePlan,
        ticket::{CODE_CHARACTERS, Scan, ScanText, Ticket, TicketUse, check_device},
        violations::Violations,
    },
    pb::boxoffice::v1::{self as pb, watch_door_response::Event},
};

/// The most scans of one upload.
const MAX_SCANS: usize = 500;
/// The most people who are admitted by one scan.
const MAX_ADMITTED: u32 = 100;
/// The most people of one upload, each of whom has a result.
const MAX_PEOPLE: u64 = 2_000;
/// The most characters of a number with what people write around it.
const MAX_NUMBER: usize = 64;

pub(crate) fn door(showtime_id: &str) -> Result<ShowtimeId, Violations> {
    let mut violations = Violations::new();
    let showtime_id = violations.take("showtime_id", ShowtimeId::parse(showtime_id));
    finish(violations, showtime_id)
}

pub(crate) fn upload_scans(request: pb::UploadScansRequest) -> Result<(String, Vec<Scan>), Violations> {
    let mut violations = Violations::new();
    violations.take("device", check_device(&request.device));
    if request.scans.is_empty() || request.scans.len() > MAX_SCANS {
        violations.add("scans", format!("must have 1 to {MAX_SCANS} scans"));
        return Err(violations);
    }
    let mut scans = Vec::with_capacity(request.scans.len());
    for (at, read) in request.scans.into_iter().enumerate() {
        scans.extend(violations.take(&format!("scans[{at}]"), scan(read)));
    }
    let people: u64 = scans.iter().map(|scan| u64::from(scan.count.max(1))).sum();
    if people > MAX_PEOPLE {
        violations.add("scans", format!("must have at most {MAX_PEOPLE} people together"));
    }
    finish(violations, Some((request.device, scans)))
}

fn scan(scan: pb::Scan) -> Result<Scan, Violations> {
    let mut violations = Violations::new();
    let shown = code_or_number(scan.code, scan.number).and_then(|shown| match shown {
        ScanText::Code(text) => within("code", text, CODE_CHARACTERS).map(ScanText::Code),
        ScanText::Number(text) => within("number", text, MAX_NUMBER).map(ScanText::Number),
    });
    let shown = violations.take("", shown);
    violations.take("nonce", check_device(&scan.nonce));
    let time = violations.take("scan_time", required(scan.scan_time).and_then(time));
    let count = u32::try_from(scan.count).ok().filter(|count| *count <= MAX_ADMITTED);
    let count = count.ok_or_else(|| Violations::one("", format!("must be between 0 and {MAX_ADMITTED}")));
    let count = violations.take("count", count);
    let nonce = scan.nonce;
    let all = shown.zip(time).zip(count);
    finish(violations, all.map(|((shown, time), count)| Scan { shown, nonce, time, count }))
}

fn within(field: &str, text: String, most: usize) -> Result<String, Violations> {
    let fits = text.chars().count() <= most && !text.contains('\0');
    if fits {
        Ok(text)
    } else {
        Err(Violations::one(field, format!("must have at most {most} characters, and no NUL")))
    }
}

pub(crate) fn door_list(list: &DoorList) -> pb::DoorList {
    pb::DoorList {
        showtime: Some(showtime(&list.plan)),
        admit_from_time: Some(timestamp(list.admission.from)),
        admit_until_time: Some(timestamp(list.admission.until)),
        tickets: list.tickets.iter().map(|ticket| door_ticket(&list.plan, ticket)).collect(),
        as_of_time: Some(timestamp(list.as_of)),
    }
}

fn door_ticket(plan: &ShowtimePlan, ticket: &Ticket) -> pb::DoorTicket {
    pb::DoorTicket {
        number: ticket.number.to_string(),
        code_random: ticket.code.random().to_vec(),
        seat: Some(seat(ticket.seat_name)),
        ticket_type: ticket_type(plan, ticket),
        state: state(ticket.state).into(),
        purchase_id: ticket.purchase_id.to_string(),
        use_time: ticket.used.as_ref().map(|used| timestamp(used.time)),
        use_device: ticket.used.as_ref().map(|used| used.device.clone()).unwrap_or_default(),
    }
}

fn door_changes(changes: &DoorChanges) -> pb::DoorChanges {
    pb::DoorChanges {
        tickets: changes.tickets.iter().map(|ticket| door_ticket(&changes.plan, ticket)).collect(),
        removed_numbers: changes.removed.iter().map(ToString::to_string).collect(),
        as_of_time: Some(timestamp(changes.as_of)),
    }
}

pub(crate) fn door_message(message: &DoorMessage) -> pb::WatchDoorResponse {
    let event = match message {
        DoorMessage::List(list) => Event::List(door_list(list)),
        DoorMessage::Changes(changes) => Event::Changes(door_changes(changes)),
        DoorMessage::Heartbeat(as_of) => Event::Heartbeat(pb::DoorHeartbeat { as_of_time: Some(timestamp(*as_of)) }),
    };
    pb::WatchDoorResponse { event: Some(event) }
}

pub(crate) fn upload(upload: &Upload) -> pb::UploadScansResponse {
    pb::UploadScansResponse {
        results: upload.results.iter().map(scan_result).collect(),
        double_admissions: upload.doubles.iter().map(double_admission).collect(),
    }
}

fn scan_result(result: &ScanResult) -> pb::ScanResult {
    pb::ScanResult {
        nonce: result.nonce.clone(),
        ticket: result.ticket.as_ref().map(ticket),
        why: result.why.iter().map(|why| flaw(*why).into()).collect(),
        double_admission: result.is_double,
    }
}

fn double_admission(double: &DoubleAdmission) -> pb::DoubleAdmission {
    let admission = |used: &TicketUse| pb::Admission {
        device: used.device.clone(),
        nonce: used.nonce.clone(),
        admit_time: Some(timestamp(used.time)),
    };
    pb::DoubleAdmission {
        ticket: Some(ticket(&double.ticket)),
        admissions: double.uses.iter().map(admission).collect(),
    }
}
