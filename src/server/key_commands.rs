//! `boxoffice keys`: the keys of a running service that sign the codes of tickets.

use std::{fmt::Write as _, net::SocketAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tonic::{Status, transport::Channel};

use super::{failure::Failure, operator_calls::print_answer};
use crate::{
    config::KeyAction,
    pb::boxoffice::v1::{
        ListSigningKeysRequest, RetireSigningKeyRequest, RotateSigningKeyRequest, SigningKey,
        operations_client::OperationsClient, tickets_client::TicketsClient,
    },
};

/// Asks the service, and prints its answer.
pub(super) fn run(address: SocketAddr, action: KeyAction) -> Result<(), Failure> {
    print_answer(address, async |channel| ask(channel, action).await)
}

async fn ask(channel: Channel, action: KeyAction) -> Result<String, Status> {
    let mut operations = OperationsClient::new(channel.clone());
    let keys = match action {
        KeyAction::List => {
            TicketsClient::new(channel).list_signing_keys(ListSigningKeysRequest {}).await?.into_inner().keys
        }
        KeyAction::Rotate => {
            let answer = operations.rotate_signing_key(RotateSigningKeyRequest {}).await?;
            answer.into_inner().key.into_iter().collect()
        }
        KeyAction::Retire { id: key_id, force } => {
            let answer = operations.retire_signing_key(RetireSigningKeyRequest { key_id, force }).await?;
            answer.into_inner().key.into_iter().collect()
        }
    };
    Ok(written(&keys))
}

/// Each key on a line. Of all keys the last one that is not retired signs.
fn written(keys: &[SigningKey]) -> String {
    let mut text = String::new();
    for key in keys {
        let public_key = BASE64_STANDARD.encode(&key.public_key);
        let made = key.create_time.as_ref().map(ToString::to_string).unwrap_or_default();
        let retired = key.retire_time.as_ref().map(|time| format!(" retired {time}")).unwrap_or_default();
        let _ = writeln!(text, "{} {public_key} made {made}{retired}", key.key_id);
    }
    text
}
