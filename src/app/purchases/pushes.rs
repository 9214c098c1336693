//! What the gateway tells by itself. A push is only a reason to ask how a payment stands: it may come twice, late or never.

use std::time::Duration;

use tokio::time;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::PurchaseRef;
use crate::{
    app::{App, Error},
    background::Backoff,
    domain::ids::PaymentId,
    payments::{Pushes, Refusal, Trouble},
};

/// A stream of pushes is opened anew after this long, in case that it has died without a sign.
const LONGEST_STREAM: Duration = Duration::from_mins(10);

impl App {
    /// Follows the pushes of the gateway until the shutdown. Without them the gateway is asked every few seconds.
    pub async fn follow_gateway(self, shutdown: CancellationToken) {
        let follow = async {
            let (mut token, mut backoff) = (String::new(), Backoff::default());
            loop {
                match self.0.purchases.options.gateway.watch(&token).await {
                    Ok(pushes) => {
                        backoff.reset();
                        // Whichever ends first ends the stream.
                        let _late = time::timeout(LONGEST_STREAM, self.follow(pushes, &mut token)).await;
                    }
                    Err(Trouble::Refused { code: Refusal::InvalidArgument, .. }) if !token.is_empty() => token.clear(),
                    Err(trouble) => tracing::debug!(%trouble, "the gateway's pushes cannot be followed"),
                }
                time::sleep(backoff.pause(self.0.clock.fraction())).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn follow(&self, mut pushes: Pushes, token: &mut String) {
        while let Ok(Some(push)) = pushes.next().await {
            *token = push.resume_token;
            let Some(report) = push.report else { continue };
            if let Ok(id) = Uuid::try_parse(&report.key)
                && let Err(error) = self.nudge(PaymentId(id)).await
            {
                tracing::debug!(%error, "a push of the gateway had no effect");
            }
        }
    }

    /// Goes on with the purchase of a payment, if it waits for the gateway or for its customer.
    async fn nudge(&self, id: PaymentId) -> Result<(), Error> {
        let Some(purchase_id) = self.0.purchases.awaiting.get(&id) else { return Ok(()) };
        let which = PurchaseRef { purchase_id, customer_id: None };
        let app = self.clone();
        let nudged = self
            .detached(async move { app.change_purchase(&which, None, |purchase, now| Ok(purchase.pushed(now))).await });
        match nudged.await {
            Ok(_) | Err(Error::Purchase(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
