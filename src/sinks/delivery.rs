//! The delivery to a sink by this instance.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{connection::Connection, message::Message};
use crate::{
    background::Backoff,
    feed::{Follower, Row},
    store::LetterPlace,
};

pub(super) struct Delivery {
    pub(super) follower: Follower,
    /// `None` until the broker was reached, and after trouble.
    pub(super) connection: Option<Connection>,
    /// What each write of the row names.
    pub(super) fence: i64,
    pub(super) epoch: Arc<str>,
    /// Every event up to here was delivered, or is a letter.
    pub(super) position: i64,
    pub(super) shift: i64,
    /// Events after the position that were confirmed.
    pub(super) confirmed: HashSet<LetterPlace>,
    /// How often events after the position were refused.
    pub(super) refusals: HashMap<LetterPlace, i32>,
    /// The aggregates whose events wait behind a dead letter, and how many letters each has.
    pub(super) waiting: HashMap<String, u64>,
    pub(super) problem: String,
    pub(super) backoff: Backoff,
    /// Whether letters were written, and it is not known whether the database has them.
    pub(super) is_uncertain: bool,
    /// Whether something of this is not in the row.
    pub(super) is_ahead: bool,
    /// When the row of the sink was written.
    pub(super) beat: Instant,
}

impl Delivery {
    pub(super) fn new(follower: Follower, fence: i64, epoch: String) -> Self {
        Self {
            follower,
            connection: None,
            fence,
            epoch: epoch.into(),
            position: 0,
            shift: 0,
            confirmed: HashSet::new(),
            refusals: HashMap::new(),
            waiting: HashMap::new(),
            problem: String::new(),
            backoff: Backoff::default(),
            is_uncertain: false,
            is_ahead: false,
            beat: Instant::now(),
        }
    }

    /// Notes that everything up to this position was delivered or is a letter.
    pub(super) fn advance(&mut self, position: i64) {
        if position != self.position {
            (self.position, self.is_ahead) = (position, true);
            self.confirmed.retain(|(of, _)| *of > position);
            self.refusals.retain(|(of, _), _| *of > position);
        }
    }
}

/// The messages of rows.
pub(super) fn messages<'a>(rows: &'a [Arc<Row>], epoch: Option<&'a str>) -> Vec<Message<'a>> {
    rows.iter().flat_map(|row| Message::of(row, epoch)).collect()
}
