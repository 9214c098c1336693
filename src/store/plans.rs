//! Plans of showtimes: their facts, and the seats of their house. Neither ever changes.

use std::{collections::HashMap, sync::Arc};

use sea_orm::FromQueryResult as _;

use super::{
    Error, Store,
    facts::{SELECT_SHOWTIMES, ShowtimeRow},
    reader::by_ids,
    transactions::look,
};
use crate::domain::{
    house::House,
    ids::{AuditoriumId, ShowtimeId},
    seating::Plan,
};

/// The seats of auditoriums in memory: bounded, the least used forgotten first.
pub(super) type Houses = moka::sync::Cache<AuditoriumId, Arc<House>>;

/// A house of 2,000 seats takes about 100 KB.
pub(super) const HOUSES: u64 = 500;

impl Store {
    /// The plan of a showtime, if there is one.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn plan(&self, id: ShowtimeId) -> Result<Option<Arc<Plan>>, Error> {
        Ok(self.plans(&[id]).await?.pop())
    }

    /// The plans of these showtimes, as far as there are any.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn plans(&self, ids: &[ShowtimeId]) -> Result<Vec<Arc<Plan>>, Error> {
        let mut facts = HashMap::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for id in ids {
            match self.0.facts.get(*id) {
                Some(known) => drop(facts.insert(*id, known)),
                None => unknown.push(*id),
            }
        }
        if !unknown.is_empty() {
            let rows = look("get_plans", async {
                let held = self.0.reads.acquire().await?;
                let query = ShowtimeRow::find_by_statement(by_ids(self.0.reads.backend(), SELECT_SHOWTIMES, &unknown));
                held.read(query.all(held.connection)).await
            });
            for row in rows.await? {
                facts.insert(ShowtimeId(row.showtime_id), self.0.facts.learn(&row)?);
            }
        }
        let mut plans = Vec::with_capacity(facts.len());
        for facts in facts.into_values() {
            let house = self.house(facts.auditorium.auditorium_id).await?;
            plans.extend(house.map(|house| Arc::new(Plan { facts, house })));
        }
        Ok(plans)
    }

    async fn house(&self, id: AuditoriumId) -> Result<Option<Arc<House>>, Error> {
        if let Some(house) = self.0.houses.get(&id) {
            return Ok(Some(house));
        }
        let auditorium = self.auditorium(id).await?;
        let house = auditorium.and_then(|auditorium| auditorium.layout).map(|layout| Arc::new(House::new(&layout)));
        if let Some(house) = &house {
            self.0.houses.insert(id, Arc::clone(house));
        }
        Ok(house)
    }
}
