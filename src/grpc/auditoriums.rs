//! `boxoffice.v1.Auditoriums`

use tonic::{Request, Response, Status};

use super::{
    convert::{self, finish},
    requests,
    services::{Service, answered},
    status,
};
use crate::{
    domain::{ids::AuditoriumId, violations::Violations},
    pb::boxoffice::v1::{self as pb, auditoriums_server::Auditoriums},
};

#[tonic::async_trait]
impl Auditoriums for Service {
    async fn create_auditorium(
        &self,
        request: Request<pb::CreateAuditoriumRequest>,
    ) -> Result<Response<pb::CreateAuditoriumResponse>, Status> {
        let (metadata, context, mut message) = request.into_parts();
        let request_id = std::mem::take(&mut message.request_id);
        let asked = async {
            let mut violations = Violations::new();
            let key = violations.take("", requests::key(&metadata, &request_id, "CreateAuditorium", &message));
            let new = violations.take("", convert::new_auditorium(message));
            let (key, new) = finish(violations, key.zip(new))?;
            self.app.create_auditorium(new, key).await
        };
        let answer = asked.await.map_err(|error| status::of(&error, &context))?;
        let auditorium = Some(convert::auditorium(&answer.value));
        Ok(answered(&answer, pb::CreateAuditoriumResponse { auditorium }))
    }

    async fn get_auditorium(
        &self,
        request: Request<pb::GetAuditoriumRequest>,
    ) -> Result<Response<pb::GetAuditoriumResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            let id = violations.take("auditorium_id", AuditoriumId::parse(&message.auditorium_id));
            self.app.auditorium(finish(violations, id)?).await
        };
        let auditorium = asked.await.map_err(|error| status::of(&error, &context))?;
        Ok(Response::new(pb::GetAuditoriumResponse { auditorium: Some(convert::auditorium(&auditorium)) }))
    }

    async fn list_auditoriums(
        &self,
        request: Request<pb::ListAuditoriumsRequest>,
    ) -> Result<Response<pb::ListAuditoriumsResponse>, Status> {
        let (_, context, message) = request.into_parts();
        let asked = async {
            let mut violations = Violations::new();
            if message.cinema.chars().count() > 100 {
                violations.add("cinema", "must have at most 100 characters");
            }
            let page = convert::page(&mut violations, message.page_size, message.page_token);
            let page = finish(violations, Some(page))?;
            self.app.auditoriums(&message.cinema, &page).await
        };
        let page = asked.await.map_err(|error| status::of(&error, &context))?;
        Ok(Response::new(pb::ListAuditoriumsResponse {
            auditoriums: page.auditoriums.iter().map(convert::auditorium).collect(),
            next_page_token: page.next,
        }))
    }
}
