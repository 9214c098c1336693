//! `boxoffice.v1.Purchases`

use std::pin::Pin;

use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status};

use super::{
    convert,
    handler::{ChangeRequest, changes},
    services::Service,
    status,
};
use crate::{
    app::PurchaseWatch,
    pb::boxoffice::v1::{self as pb, purchases_server::Purchases},
};

changes! {
    "PurchaseTickets": pb::PurchaseTicketsRequest,
}

#[tonic::async_trait]
impl Purchases for Service {
    async fn purchase_tickets(
        &self,
        request: Request<pb::PurchaseTicketsRequest>,
    ) -> Result<Response<pb::PurchaseTicketsResponse>, Status> {
        self.change(
            request,
            convert::purchase_tickets,
            |app, origin, new| async move { app.purchase_tickets(&origin, new).await },
            |view| pb::PurchaseTicketsResponse { purchase: Some(convert::buyers_purchase(&view)) },
        )
        .await
    }

    async fn get_purchase(
        &self,
        request: Request<pb::GetPurchaseRequest>,
    ) -> Result<Response<pb::GetPurchaseResponse>, Status> {
        self.read(
            request,
            |message| convert::get_purchase(&message),
            |app, origin, (named, customer_id)| async move { app.purchase(&origin, &named, customer_id).await },
            |view| pb::GetPurchaseResponse { purchase: Some(convert::buyers_purchase(&view)) },
        )
        .await
    }

    type WatchPurchaseStream = Pin<Box<dyn Stream<Item = Result<pb::WatchPurchaseResponse, Status>> + Send>>;

    async fn watch_purchase(
        &self,
        request: Request<pb::WatchPurchaseRequest>,
    ) -> Result<Response<Self::WatchPurchaseStream>, Status> {
        let (watch, context) = self
            .call(
                request,
                |message| convert::purchase_ref(&message.purchase_id, &message.customer_id),
                |app, origin, which| async move { app.watch_purchase(&origin, which).await },
            )
            .await?;
        Ok(Response::new(Box::pin(watched(watch, self.watching.shutdown.clone(), context))))
    }

    async fn list_purchases(
        &self,
        request: Request<pb::ListPurchasesRequest>,
    ) -> Result<Response<pb::ListPurchasesResponse>, Status> {
        self.read(
            request,
            convert::list_purchases,
            |app, origin, (filter, page)| async move { app.purchases(&origin, &filter, &page).await },
            |page| pb::ListPurchasesResponse {
                purchases: page.purchases.iter().map(convert::purchase).collect(),
                next_page_token: page.next,
            },
        )
        .await
    }

    async fn continue_purchase(
        &self,
        request: Request<pb::ContinuePurchaseRequest>,
    ) -> Result<Response<pb::ContinuePurchaseResponse>, Status> {
        self.read(
            request,
            convert::continue_purchase,
            |app, origin, (which, payment)| async move { app.continue_purchase(&origin, which, payment).await },
            |view| pb::ContinuePurchaseResponse { purchase: Some(convert::buyers_purchase(&view)) },
        )
        .await
    }

    async fn cancel_purchase(
        &self,
        request: Request<pb::CancelPurchaseRequest>,
    ) -> Result<Response<pb::CancelPurchaseResponse>, Status> {
        self.read(
            request,
            |message| convert::purchase_ref(&message.purchase_id, &message.customer_id),
            |app, origin, which| async move { app.cancel_purchase(&origin, which).await },
            |view| pb::CancelPurchaseResponse { purchase: Some(convert::buyers_purchase(&view)) },
        )
        .await
    }
}

/// The messages to a watcher, until the purchase has ended or the server shuts down.
fn watched(
    watch: PurchaseWatch,
    shutdown: CancellationToken,
    context: Extensions,
) -> impl Stream<Item = Result<pb::WatchPurchaseResponse, Status>> + Send {
    stream::unfold(Some((watch, shutdown, context)), |state| async move {
        let (mut watch, shutdown, context) = state?;
        let next = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            next = watch.next() => next,
        };
        match next {
            Ok(Some(view)) => {
                let message = pb::WatchPurchaseResponse { purchase: Some(convert::purchase(&view)) };
                Some((Ok(message), Some((watch, shutdown, context))))
            }
            Ok(None) => None,
            Err(error) => Some((Err(status::of(&error, &context)), None)),
        }
    })
}
