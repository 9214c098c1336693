//! Auditoriums and their layouts.

use super::{
    common::{at_most, finish, page},
    values::timestamp,
};
use crate::{
    app::PageRequest,
    domain::{
        auditorium::{Auditorium, NewAuditorium},
        ids::AuditoriumId,
        layout::LayoutRow,
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

pub(crate) fn new_auditorium(request: pb::CreateAuditoriumRequest) -> Result<NewAuditorium, Violations> {
    let rows = request.layout.map(|layout| layout.rows.into_iter().map(layout_row).collect());
    NewAuditorium::check(request.name, request.cinema, &request.time_zone, rows)
}

pub(crate) fn auditorium_id(text: &str) -> Result<AuditoriumId, Violations> {
    let mut violations = Violations::new();
    let id = violations.take("auditorium_id", AuditoriumId::parse(text));
    finish(violations, id)
}

pub(crate) fn list_auditoriums(request: pb::ListAuditoriumsRequest) -> Result<(String, PageRequest), Violations> {
    let mut violations = Violations::new();
    at_most(&mut violations, "cinema", &request.cinema, 100);
    let page = page(&mut violations, request.page_size, request.page_token);
    finish(violations, Some((request.cinema, page)))
}

fn layout_row(pb::Row { label, places, numbers }: pb::Row) -> LayoutRow {
    LayoutRow { label, places, numbers }
}

pub(crate) fn auditorium(auditorium: &Auditorium) -> pb::Auditorium {
    pb::Auditorium {
        auditorium_id: auditorium.auditorium_id.to_string(),
        name: auditorium.name.clone(),
        cinema: auditorium.cinema.clone(),
        time_zone: auditorium.time_zone.name().to_owned(),
        layout: auditorium.layout.as_ref().map(|layout| written_layout(layout.rows_as_written())),
        seat_count: auditorium.seat_count,
        create_time: Some(timestamp(auditorium.create_time)),
    }
}

pub(super) fn written_layout(rows: &[LayoutRow]) -> pb::Layout {
    let rows = rows.iter().cloned();
    pb::Layout { rows: rows.map(|LayoutRow { label, places, numbers }| pb::Row { label, places, numbers }).collect() }
}
