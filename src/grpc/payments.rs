//! `boxoffice.v1.Payments`

use tonic::{Request, Response, Status};

use super::{
    convert,
    handler::{ChangeRequest, changes},
    services::Service,
};
use crate::pb::boxoffice::v1::{self as pb, payments_server::Payments};

changes! {
    "RefundPayment": pb::RefundPaymentRequest,
}

#[tonic::async_trait]
impl Payments for Service {
    async fn get_payment(
        &self,
        request: Request<pb::GetPaymentRequest>,
    ) -> Result<Response<pb::GetPaymentResponse>, Status> {
        self.read(
            request,
            |message| convert::payment_ref(&message.payment_id, &message.customer_id),
            |app, origin, (id, customer)| async move { app.payment(&origin, id, customer.as_ref()).await },
            |payment| pb::GetPaymentResponse { payment: Some(convert::payment(&payment)) },
        )
        .await
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptResponse>, Status> {
        self.read(
            request,
            |message| convert::purchase_ref(&message.purchase_id, &message.customer_id),
            |app, origin, which| async move { app.receipt(&origin, &which).await },
            |receipt| pb::GetReceiptResponse { receipt: Some(convert::receipt(&receipt)) },
        )
        .await
    }

    async fn list_payments(
        &self,
        request: Request<pb::ListPaymentsRequest>,
    ) -> Result<Response<pb::ListPaymentsResponse>, Status> {
        self.read(
            request,
            convert::list_payments,
            |app, origin, ((customer, purchase), page)| async move {
                app.payments(&origin, (customer.as_ref(), purchase), &page).await
            },
            |page| pb::ListPaymentsResponse {
                payments: page.payments.iter().map(convert::payment).collect(),
                next_page_token: page.next,
            },
        )
        .await
    }

    async fn get_cash_up(
        &self,
        request: Request<pb::GetCashUpRequest>,
    ) -> Result<Response<pb::GetCashUpResponse>, Status> {
        self.read(
            request,
            convert::get_cash_up,
            |app, origin, (till, date)| async move { app.cash_up(&origin, &till, date).await },
            |cash_up| convert::cash_up(&cash_up),
        )
        .await
    }

    async fn refund_payment(
        &self,
        request: Request<pb::RefundPaymentRequest>,
    ) -> Result<Response<pb::RefundPaymentResponse>, Status> {
        self.change(
            request,
            convert::refund_payment,
            |app, origin, new| async move { app.refund_payment(&origin, new).await },
            |refunded| pb::RefundPaymentResponse {
                payment: Some(convert::payment(&refunded.payment)),
                refund: Some(convert::refund(&refunded.refund)),
            },
        )
        .await
    }
}
