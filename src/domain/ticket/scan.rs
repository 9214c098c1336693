//! What devices have admitted without a network.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::WhyNot;
use crate::domain::ids::TicketId;

/// A ticket, or a text that is none, that a device has accepted without a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// What was shown.
    pub shown: ScanText,
    /// The device's name for the use.
    pub nonce: String,
    /// When, by the clock of the device.
    pub time: DateTime<Utc>,
    /// How many people were admitted with it. 0: as many as there were tickets left.
    pub count: u32,
}

/// What was shown to a device, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanText {
    /// The code, as text.
    Code(String),
    /// The number.
    Number(String),
}

impl ScanText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Code(text) | Self::Number(text) => text,
        }
    }
}

impl Scan {
    /// Identifies the scan: a device that uploads it again records it once. With another count it is another scan. Neither a device nor a
    /// nonce has a line feed.
    #[must_use]
    pub fn id(&self, device: &str) -> Uuid {
        let text = [device, &self.nonce, &self.count.to_string(), self.shown.as_str()].join("\n");
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
    }
}

/// A scan that is recorded, with one of its tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedScan {
    /// Identifies the scan.
    pub scan_id: Uuid,
    /// Counts the people of the scan.
    pub part: i16,
    /// The device.
    pub device: String,
    /// The device's name for the use.
    pub nonce: String,
    /// What was shown.
    pub shown: String,
    /// When, by the clock of the device.
    pub scan_time: DateTime<Utc>,
    /// When it was recorded.
    pub upload_time: DateTime<Utc>,
    /// The ticket. `None`: there is none.
    pub ticket_id: Option<TicketId>,
    /// What was in the way.
    pub why: Vec<WhyNot>,
    /// Whether the ticket had been used already, or the same scan has admitted somebody else with it.
    pub is_double: bool,
}
