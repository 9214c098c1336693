//! The stream of changes that the gateway pushes.

use tonic::Streaming;
use tracing::warn;

use super::{
    report::{MAX_TOKEN, PaymentReport, differs},
    trouble::Trouble,
};
use crate::pb::payments::v1::WatchPaymentsResponse;

/// The stream of changes. It has no end of its own: a broken connection is found by its pings.
pub struct Pushes(pub(super) Streaming<WatchPaymentsResponse>);

/// One message of the stream. It is a hint to read the payment, because pushes may come late, twice or out of order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The payment after a change. `None`: the message only has a token, as the first one does, or its payment cannot be read.
    pub report: Option<PaymentReport>,
    /// The token with which a later stream continues after this message.
    pub resume_token: String,
}

impl Pushes {
    /// Waits for the next message. `None`: the gateway has ended the stream.
    ///
    /// # Errors
    /// The stream broke: open another one with the last token.
    pub async fn next(&mut self) -> Result<Option<Push>, Trouble> {
        let Some(WatchPaymentsResponse { payment, resume_token }) = self.0.message().await? else { return Ok(None) };
        if resume_token.len() > MAX_TOKEN {
            return Err(differs("the resume token is too long"));
        }
        let report = match payment.as_ref().map(PaymentReport::read) {
            Some(Ok(report)) => Some(report),
            Some(Err(trouble)) => {
                warn!(%trouble, "a push of the payment gateway cannot be read");
                None
            }
            None => None,
        };
        Ok(Some(Push { report, resume_token }))
    }
}
