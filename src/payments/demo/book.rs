//! All payments of the demo gateway, with the indexes by which they are found, and the file in which they are kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use chrono::{DateTime, Utc};
use tonic::Status;
use tracing::error;

use super::{
    file::{Id, Log, OpenError},
    record::Record,
    request::Request,
    rules::{self, Timing},
    token::Token,
};
use crate::{clock::Clock, pb::payments::v1::Payment};

/// The most payments. They take about 1 KB each.
const MAX_PAYMENTS: usize = 1_000_000;

/// All payments of a demo gateway.
#[derive(Default)]
pub struct Book {
    id: Id,
    log: Option<Log>,
    /// In the order in which they were made.
    records: Vec<Record>,
    by_key: HashMap<String, usize>,
    /// The payment that has an operation with this key.
    by_operation: HashMap<String, usize>,
    /// The payment whose last change has this number.
    by_change: BTreeMap<u64, usize>,
    /// When which payment changes by itself.
    due: BTreeSet<(DateTime<Utc>, usize)>,
    /// The state before the last change, of payments whose pushes are doubled.
    earlier: HashMap<usize, Payment>,
    last_change: u64,
}

/// A change of a payment, for its pushes.
pub(super) struct Change {
    pub(super) number: u64,
    pub(super) payment: Payment,
    /// Whether it is pushed twice, and the state that is pushed after it although it is older.
    pub(super) doubled: bool,
    pub(super) earlier: Option<Payment>,
}

impl Book {
    /// A book that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { id: *Clock::System.new_id().as_bytes(), ..Self::default() }
    }

    /// Opens the book in the file `demo-gateway.log` of this folder. Both are made if they are missing.
    ///
    /// # Errors
    /// The file cannot be used, or another process uses it.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let mut book = Self::in_memory();
        let (log, id, records) = Log::open(folder, book.id, latest)?;
        for record in records {
            book.last_change = book.last_change.max(record.change);
            book.put(record);
        }
        Ok(Self { id, log: Some(log), ..book })
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }

    pub(super) fn last_change(&self) -> u64 {
        self.last_change
    }

    pub(super) fn payment(&self, key: &str) -> Option<&Payment> {
        Some(&self.records[*self.by_key.get(key)?].payment)
    }

    /// At most `most` payments from this one on, and how many there are in all.
    pub(super) fn page(&self, from: usize, most: usize) -> (Vec<Payment>, usize) {
        let page = self.records.iter().skip(from).take(most).map(|record| record.payment.clone());
        (page.collect(), self.records.len())
    }

    /// At most `most` changes after this one.
    pub(super) fn changes(&self, after: u64, most: usize) -> Vec<Change> {
        let changes = self.by_change.range(after.saturating_add(1)..).take(most);
        changes
            .map(|(number, at)| Change {
                number: *number,
                payment: self.records[*at].payment.clone(),
                doubled: self.records[*at].token() == Token::DuplicatePush,
                earlier: self.earlier.get(at).cloned(),
            })
            .collect()
    }

    /// Carries out an operation. Returns the payment, and whether this call has changed it.
    pub(super) fn execute(&mut self, request: &Request, timing: Timing) -> Result<(Payment, bool), Status> {
        self.settle(timing.now)?;
        let found = self.by_key.get(&request.payment_key).copied();
        if self.by_operation.get(&request.operation_key).is_some_and(|other| Some(*other) != found) {
            return Err(rules::used());
        }
        if found.is_none() && self.records.len() >= MAX_PAYMENTS {
            return Err(Status::resource_exhausted("the demo gateway is full: stop it and move its file away"));
        }
        match (rules::decide(found.map(|at| &self.records[at]), request, timing)?, found) {
            (Some(next), _) => Ok((self.change(next)?, true)),
            (None, Some(at)) => Ok((self.records[at].payment.clone(), false)),
            (None, None) => Err(Status::internal("no payment was made")),
        }
    }

    /// Does what a customer does. `None`: the payment is not known.
    pub(super) fn complete(&mut self, key: &str, approve: bool, now: DateTime<Utc>) -> Result<Option<Payment>, Status> {
        self.settle(now)?;
        let Some(at) = self.by_key.get(key).copied() else { return Ok(None) };
        match rules::complete(&self.records[at], approve, now) {
            Some(next) => self.change(next).map(Some),
            None => Ok(Some(self.records[at].payment.clone())),
        }
    }

    /// Does what has become due. Returns when there is more to do.
    pub(super) fn settle(&mut self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Status> {
        while let Some((due, at)) = self.due.first().copied() {
            match rules::settle(&self.records[at], now) {
                Some(next) => drop(self.change(next)?),
                None => return Ok(Some(due)),
            }
        }
        Ok(None)
    }

    /// Writes a change, and only then makes it.
    fn change(&mut self, mut record: Record) -> Result<Payment, Status> {
        record.change = self.last_change + 1;
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(&record)
        {
            error!(error = &error as &dyn std::error::Error, "the demo gateway cannot write its file");
            return Err(Status::internal("the demo gateway cannot write its file"));
        }
        self.last_change = record.change;
        let payment = record.payment.clone();
        self.put(record);
        Ok(payment)
    }

    fn put(&mut self, record: Record) {
        let at = self.by_key.get(record.key()).copied().unwrap_or(self.records.len());
        if let Some(before) = self.records.get(at) {
            self.by_change.remove(&before.change);
            if let Some(due) = before.due() {
                self.due.remove(&(due, at));
            }
            if before.token() == Token::DuplicatePush {
                self.earlier.insert(at, before.payment.clone());
            }
        } else {
            self.by_key.insert(record.key().to_owned(), at);
        }
        self.by_change.insert(record.change, at);
        if let Some(due) = record.due() {
            self.due.insert((due, at));
        }
        for operation in &record.payment.operations {
            self.by_operation.insert(operation.operation_key.clone(), at);
        }
        match self.records.get_mut(at) {
            Some(place) => *place = record,
            None => self.records.push(record),
        }
    }
}

/// The last record of each payment, in the order of the first ones.
fn latest(records: Vec<Record>) -> Vec<Record> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut latest: Vec<Record> = Vec::new();
    for record in records {
        if let Some(at) = places.get(record.key()) {
            latest[*at] = record;
        } else {
            places.insert(record.key().to_owned(), latest.len());
            latest.push(record);
        }
    }
    latest
}
