//! What a purchase has done so far, for those who look at it.

use chrono::{DateTime, Utc};

/// A step of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepName {
    /// The seats are held.
    ReserveSeats,
    /// The payment is authorised.
    Pay,
    /// The seats are sold.
    ConfirmReservation,
    /// The money is taken.
    Capture,
    /// The tickets admit their holders. The write that completes the purchase does it, so that this step is not stored: it is done when the
    /// purchase is completed.
    IssueTickets,
}

/// How far some work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepState {
    /// It has not begun.
    #[default]
    Pending,
    /// It is under way.
    Running,
    /// It is done.
    Done,
    /// It cannot be done.
    Failed,
}

/// Work that is attempted until its outcome is known: a step, or what undoes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How far it is.
    pub state: StepState,
    /// How often it was attempted.
    pub attempts: u32,
    /// What came of the last attempt; empty if there is nothing to say.
    pub message: String,
    /// When it began.
    pub start_time: Option<DateTime<Utc>>,
    /// When its outcome was known.
    pub end_time: Option<DateTime<Utc>>,
}

/// One step, and what undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which one.
    pub name: StepName,
    /// The step itself.
    pub work: Work,
    /// What undoes it, if that has begun.
    pub compensation: Option<Work>,
}

/// The steps of a purchase, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps(pub Vec<Step>);

/// The most characters of a message.
const MAX_MESSAGE: usize = 200;

impl Work {
    /// Work that was done by one attempt, at this moment.
    pub(super) fn done_at(time: DateTime<Utc>) -> Self {
        Self { state: StepState::Done, attempts: 1, start_time: Some(time), end_time: Some(time), ..Self::default() }
    }

    pub(super) fn attempt(&mut self, now: DateTime<Utc>) {
        self.state = StepState::Running;
        self.attempts += 1;
        self.start_time.get_or_insert(now);
        self.end_time = None;
    }

    pub(super) fn note(&mut self, message: &str) {
        self.message = message.chars().filter(|one| !one.is_control()).take(MAX_MESSAGE).collect();
    }

    pub(super) fn end(&mut self, state: StepState, message: &str, now: DateTime<Utc>) {
        self.state = state;
        self.note(message);
        self.start_time.get_or_insert(now);
        self.end_time = Some(now);
    }
}

impl Steps {
    /// The steps of a purchase that has not begun.
    #[must_use]
    pub fn new() -> Self {
        let names = [StepName::ReserveSeats, StepName::Pay, StepName::ConfirmReservation, StepName::Capture];
        Self(names.map(|name| Step { name, work: Work::default(), compensation: None }).into())
    }

    pub(super) fn work(&mut self, name: StepName) -> &mut Work {
        &mut self.step(name).work
    }

    pub(super) fn compensation(&mut self, name: StepName) -> &mut Work {
        self.step(name).compensation.get_or_insert_default()
    }

    fn step(&mut self, name: StepName) -> &mut Step {
        let at = self.0.iter().position(|step| step.name == name);
        let at = at.unwrap_or_else(|| {
            self.0.push(Step { name, work: Work::default(), compensation: None });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}
