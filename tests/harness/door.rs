//! A door without a network, as docs/tickets.md describes it: it has the keys and the list of its showtime.

use std::{collections::HashSet, sync::Mutex};

use boxoffice::{
    domain::ticket::TicketCode,
    pb::boxoffice::v1::{
        DoorList, DoorTicket, GetDoorListRequest, ListSigningKeysRequest, Scan, ScanResult, SigningKey, Ticket,
        TicketState, UploadScansRequest, UploadScansResponse, tickets_client::TicketsClient,
    },
};
use ring::signature::{ED25519, UnparsedPublicKey};
use tonic::{Status, transport::Channel};

use super::Server;

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

    /// Whether it admits the holder of a code.
    pub(crate) fn admits(&self, code: &str) -> bool {
        let good = self.entry(code).is_some_and(|ticket| ticket.state() == TicketState::Issued);
        good && self.admitted.lock().expect("no panic").insert(code.to_owned())
    }

    /// The ticket in the list that has this code, if the code is genuine.
    fn entry(&self, code: &str) -> Option<&DoorTicket> {
        let code = TicketCode::parse(code).ok()?;
        let live = self.keys.iter().filter(|key| key.retire_time.is_none());
        let key = live.into_iter().find(|key| key.key_id == i32::from(code.key_id()))?;
        let key = UnparsedPublicKey::new(&ED25519, &key.public_key);
        key.verify(&code.signed_bytes(), code.signature()).ok()?;
        let showtime = &self.list.showtime.as_ref()?.showtime_id;
        let is_of_this = code.showtime().to_string() == *showtime;
        self.list.tickets.iter().find(|ticket| is_of_this && ticket.code_random == code.random())
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
