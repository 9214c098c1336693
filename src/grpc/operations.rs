//! `boxoffice.v1.Operations`

use tonic::{Request, Response, Status};

use super::{convert, services::Service};
use crate::pb::boxoffice::v1::{self as pb, operations_server::Operations};

#[tonic::async_trait]
impl Operations for Service {
    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        self.read(
            request,
            convert::list_dead_letters,
            |app, origin, (filter, page)| async move { app.dead_letters(&origin, filter, &page).await },
            |(letters, next)| pb::ListDeadLettersResponse {
                dead_letters: letters.into_iter().map(convert::dead_letter).collect(),
                next_page_token: next,
            },
        )
        .await
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Response<pb::RedriveDeadLettersResponse>, Status> {
        self.read(
            request,
            convert::redrive_dead_letters,
            |app, origin, letters| async move { app.redrive_dead_letters(&origin, letters).await },
            |count| pb::RedriveDeadLettersResponse { count: count.cast_signed() },
        )
        .await
    }

    async fn drop_dead_letters(
        &self,
        request: Request<pb::DropDeadLettersRequest>,
    ) -> Result<Response<pb::DropDeadLettersResponse>, Status> {
        self.read(
            request,
            convert::drop_dead_letters,
            |app, origin, letters| async move { app.drop_dead_letters(&origin, letters).await },
            |count| pb::DropDeadLettersResponse { count: count.cast_signed() },
        )
        .await
    }

    async fn list_stuck_purchases(
        &self,
        request: Request<pb::ListStuckPurchasesRequest>,
    ) -> Result<Response<pb::ListStuckPurchasesResponse>, Status> {
        self.read(
            request,
            |message| convert::any_page(message.page_size, message.page_token),
            |app, origin, page| async move { app.stuck_purchases(&origin, &page).await },
            |page| pb::ListStuckPurchasesResponse {
                purchases: page.purchases.into_iter().map(convert::stuck_purchase).collect(),
                next_page_token: page.next,
            },
        )
        .await
    }

    async fn resume_purchase(
        &self,
        request: Request<pb::ResumePurchaseRequest>,
    ) -> Result<Response<pb::ResumePurchaseResponse>, Status> {
        self.read(
            request,
            convert::resume_purchase,
            |app, origin, (id, note)| async move { app.resume_purchase(&origin, id, note).await },
            |view| pb::ResumePurchaseResponse { purchase: Some(convert::purchase(&view)) },
        )
        .await
    }

    async fn settle_purchase(
        &self,
        request: Request<pb::SettlePurchaseRequest>,
    ) -> Result<Response<pb::SettlePurchaseResponse>, Status> {
        self.read(
            request,
            convert::settle_purchase,
            |app, origin, (id, settlement, note)| async move {
                app.settle_purchase(&origin, id, settlement, note).await
            },
            |view| pb::SettlePurchaseResponse { purchase: Some(convert::purchase(&view)) },
        )
        .await
    }

    async fn list_stuck_refunds(
        &self,
        request: Request<pb::ListStuckRefundsRequest>,
    ) -> Result<Response<pb::ListStuckRefundsResponse>, Status> {
        self.read(
            request,
            |message| convert::any_page(message.page_size, message.page_token),
            |app, origin, page| async move { app.stuck_refunds(&origin, &page).await },
            |page| pb::ListStuckRefundsResponse {
                refunds: page.refunds.into_iter().map(convert::stuck_refund).collect(),
                next_page_token: page.next,
            },
        )
        .await
    }

    async fn resume_refund(
        &self,
        request: Request<pb::ResumeRefundRequest>,
    ) -> Result<Response<pb::ResumeRefundResponse>, Status> {
        self.read(
            request,
            convert::resume_refund,
            |app, origin, (id, note)| async move { app.resume_refund(&origin, id, note).await },
            |refund| pb::ResumeRefundResponse { refund: Some(convert::refund(&refund)) },
        )
        .await
    }

    async fn rotate_signing_key(
        &self,
        request: Request<pb::RotateSigningKeyRequest>,
    ) -> Result<Response<pb::RotateSigningKeyResponse>, Status> {
        self.read(
            request,
            |_| Ok(()),
            |app, origin, ()| async move { app.rotate_signing_key(&origin).await },
            |key| pb::RotateSigningKeyResponse { key: Some(convert::signing_key(&key)) },
        )
        .await
    }

    async fn retire_signing_key(
        &self,
        request: Request<pb::RetireSigningKeyRequest>,
    ) -> Result<Response<pb::RetireSigningKeyResponse>, Status> {
        self.read(
            request,
            convert::retire_signing_key,
            |app, origin, (key_id, force)| async move { app.retire_signing_key(&origin, key_id, force).await },
            |key| pb::RetireSigningKeyResponse { key: Some(convert::signing_key(&key)) },
        )
        .await
    }

    async fn settle_refund(
        &self,
        request: Request<pb::SettleRefundRequest>,
    ) -> Result<Response<pb::SettleRefundResponse>, Status> {
        self.read(
            request,
            convert::settle_refund,
            |app, origin, (id, settlement, note)| async move { app.settle_refund(&origin, id, settlement, note).await },
            |refund| pb::SettleRefundResponse { refund: Some(convert::refund(&refund)) },
        )
        .await
    }
}
