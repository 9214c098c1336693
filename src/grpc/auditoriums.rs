//! `boxoffice.v1.Auditoriums`

use tonic::{Request, Response, Status};

use super::{
    convert,
    handler::{ChangeRequest, changes},
    services::Service,
};
use crate::pb::boxoffice::v1::{self as pb, auditoriums_server::Auditoriums};

changes! { "CreateAuditorium": pb::CreateAuditoriumRequest }

#[tonic::async_trait]
impl Auditoriums for Service {
    async fn create_auditorium(
        &self,
        request: Request<pb::CreateAuditoriumRequest>,
    ) -> Result<Response<pb::CreateAuditoriumResponse>, Status> {
        self.change(
            request,
            convert::new_auditorium,
            |app, origin, new| async move { app.create_auditorium(&origin, new).await },
            |auditorium| pb::CreateAuditoriumResponse { auditorium: Some(convert::auditorium(&auditorium)) },
        )
        .await
    }

    async fn get_auditorium(
        &self,
        request: Request<pb::GetAuditoriumRequest>,
    ) -> Result<Response<pb::GetAuditoriumResponse>, Status> {
        self.read(
            request,
            |message| convert::auditorium_id(&message.auditorium_id),
            |app, origin, id| async move { app.auditorium(&origin, id).await },
            |auditorium| pb::GetAuditoriumResponse { auditorium: Some(convert::auditorium(&auditorium)) },
        )
        .await
    }

    async fn list_auditoriums(
        &self,
        request: Request<pb::ListAuditoriumsRequest>,
    ) -> Result<Response<pb::ListAuditoriumsResponse>, Status> {
        self.read(
            request,
            convert::list_auditoriums,
            |app, origin, (cinema, page)| async move { app.auditoriums(&origin, &cinema, &page).await },
            |page| pb::ListAuditoriumsResponse {
                auditoriums: page.auditoriums.iter().map(convert::auditorium).collect(),
                next_page_token: page.next,
            },
        )
        .await
    }
}
