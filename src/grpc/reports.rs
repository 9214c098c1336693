//! `boxoffice.v1.Reports`

use tonic::{Request, Response, Status};

use super::{convert, services::Service};
use crate::pb::boxoffice::v1::{self as pb, reports_server::Reports};

#[tonic::async_trait]
impl Reports for Service {
    async fn get_occupancy(
        &self,
        request: Request<pb::GetOccupancyRequest>,
    ) -> Result<Response<pb::GetOccupancyResponse>, Status> {
        self.read(
            request,
            convert::get_occupancy,
            |app, origin, (filter, page)| async move { app.occupancy(&origin, &filter, &page).await },
            convert::occupancy,
        )
        .await
    }

    async fn get_sales(&self, request: Request<pb::GetSalesRequest>) -> Result<Response<pb::GetSalesResponse>, Status> {
        self.read(
            request,
            convert::get_sales,
            |app, origin, (group, filter, page)| async move { app.sales(&origin, group, &filter, &page).await },
            convert::sales,
        )
        .await
    }

    async fn get_hold_conversion(
        &self,
        request: Request<pb::GetHoldConversionRequest>,
    ) -> Result<Response<pb::GetHoldConversionResponse>, Status> {
        self.read(
            request,
            convert::get_hold_conversion,
            |app, origin, filter| async move { app.hold_conversion(&origin, &filter).await },
            |seen| convert::hold_conversion(&seen),
        )
        .await
    }
}
