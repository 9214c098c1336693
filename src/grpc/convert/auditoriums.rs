//! Auditoriums and their layouts.

use super::values::timestamp;
use crate::{
    domain::{
        auditorium::{Auditorium, NewAuditorium},
        layout::LayoutRow,
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

pub(crate) fn new_auditorium(request: pb::CreateAuditoriumRequest) -> Result<NewAuditorium, Violations> {
    let plan = request.layout.map(|layout| layout.rows.into_iter().map(row_plan).collect());
    NewAuditorium::check(request.name, request.cinema, &request.time_zone, plan)
}

fn row_plan(pb::Row { label, places, numbers }: pb::Row) -> LayoutRow {
    LayoutRow { label, places, numbers }
}

pub(crate) fn auditorium(auditorium: &Auditorium) -> pb::Auditorium {
    pb::Auditorium {
        auditorium_id: auditorium.auditorium_id.to_string(),
        name: auditorium.name.clone(),
        cinema: auditorium.cinema.clone(),
        time_zone: auditorium.time_zone.name().to_owned(),
        layout: auditorium.layout.as_ref().map(|known| layout(known.rows_as_written())),
        seat_count: auditorium.seat_count,
        create_time: Some(timestamp(auditorium.create_time)),
    }
}

pub(super) fn layout(plan: &[LayoutRow]) -> pb::Layout {
    let rows = plan.iter().cloned();
    pb::Layout { rows: rows.map(|LayoutRow { label, places, numbers }| pb::Row { label, places, numbers }).collect() }
}
