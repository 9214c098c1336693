//! A door without a network, as docs/tickets.md describes it: it has the keys and the list of its showtime.

use std::{collections::HashSet, sync::Mutex};

use boxoffice::{
    clock::Clock,
    domain::ticket::TicketCode,
    pb::boxoffice::v1::{
        DoorList, DoorTicket, GetDoorListRequest, ListSigningKeysRequest, Scan, ScanResult, SigningKey, Ticket,
        TicketState, UploadScansRequest, UploadScansResponse, tickets_client::TicketsClient,
    },
};
use chrono::{DateTime, Utc};
use ring::signature::{ED25519, UnparsedPublicKey};
use tonic::{Status, transport::Channel};

use super::{Server, seats::instant};

pub(crate) fn client(server: &Server) -> TicketsClient<Channel> {
    TicketsClient::new(server.channel())
}

/// A door, with what it has written down.
pub(crate) struct OfflineDoor {
    pub(crate) device: String,
    list: DoorList,
    keys: Vec<SigningKey>,
    admitted: Mutex<HashSet<String>>,
}

impl OfflineDoor {
    /// Loads the list and the keys.
    pub(crate) async fn load(server: &Server, showtime_id: &str, device: &str) -> Self {
        let keys = client(server).list_signing_keys(ListSigningKeysRequest {}).await.expect("a list").into_inner().keys;
        let list = door_list(server, showtime_id).await;
        Self { device: device.to_owned(), list, keys, admitted: Mutex::default() }
    }

    /// Whether it admits the holder of a code now.
    pub(crate) fn admits(&self, code: &str) -> bool {
        self.admits_at(code, Clock::System.now()) > 0
    }

    /// How many people it admits with a code at a time.
    pub(crate) fn admits_at(&self, code: &str, now: DateTime<Utc>) -> usize {
        let is_open = instant(self.list.admit_from_time) <= now && now < instant(self.list.admit_until_time);
        let Some(code) = self.genuine(code).filter(|_| is_open) else { return 0 };
        let is_meant = |ticket: &&DoorTicket| match code.purchase() {
            Some(id) => ticket.purchase_id == id.to_string(),
            None => ticket.code_random == code.random(),
        };
        let issued = self.list.tickets.iter().filter(is_meant).filter(|ticket| ticket.state() == TicketState::Issued);
        let mut admitted = self.admitted.lock().expect("no panic");
        issued.filter(|ticket| admitted.insert(ticket.number.clone())).count()
    }

    /// A code that a key has signed for this showtime or for a purchase.
    fn genuine(&self, code: &str) -> Option<TicketCode> {
        let code = TicketCode::parse(code).ok()?;
        let live = self.keys.iter().filter(|key| key.retire_time.is_none());
        let key = live.into_iter().find(|key| key.key_id == i32::from(code.key_id()))?;
        let key = UnparsedPublicKey::new(&ED25519, &key.public_key);
        key.verify(&code.signed_bytes(), code.signature()).ok()?;
        let showtime = &self.list.showtime.as_ref()?.showtime_id;
        (code.purchase().is_some() || code.showtime().to_string() == *showtime).then_some(code)
    }
}

pub(crate) async fn door_list(server: &Server, showtime_id: &str) -> DoorList {
    let request = GetDoorListRequest { showtime_id: showtime_id.to_owned() };
    let answer = client(server).get_door_list(request).await.expect("the showtime exists").into_inner();
    answer.list.expect("the answer has the list")
}

/// A scan of a ticket's code.
pub(crate) fn scan(ticket: &Ticket, nonce: &str, scan_time: prost_types::Timestamp) -> Scan {
    let (code, nonce) = (ticket.code.clone(), nonce.to_owned());
    Scan { code, nonce, scan_time: Some(scan_time), ..Scan::default() }
}

pub(crate) async fn upload(server: &Server, device: &str, scans: &[Scan]) -> Result<UploadScansResponse, Status> {
    let request = UploadScansRequest { device: device.to_owned(), scans: scans.to_vec() };
    Ok(client(server).upload_scans(request).await?.into_inner())
}

/// The only result of an upload.
pub(crate) fn one(answer: &UploadScansResponse) -> &ScanResult {
    let [result] = &answer.results[..] else { panic!("there is one scan: {answer:#?}") };
    result
}
