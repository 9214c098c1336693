//! Price lists and lines as they are stored.

use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::domain::{
    layout::SeatKind,
    money::{Currency, Money},
    prices::{Line, Lines, PriceList, TicketType},
};

/// A price list that says more than a price.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredPriceList {
    ticket_types: Vec<StoredTicketType>,
    supplements: Vec<StoredSupplement>,
    fee_minor: i64,
    tax_basis_points: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredTicketType {
    code: String,
    name: String,
    price_minor: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredSupplement {
    kind: StoredKind,
    minor: i64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredKind {
    Standard,
    Accessible,
    Companion,
    Premium,
}

/// The lines of a reservation, unless all of them are plain.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in crate::store) struct StoredLines {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<StoredLine>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct StoredLine {
    #[prost(uint32, tag = "1")]
    ticket_type: u32,
    #[prost(int64, tag = "2")]
    price: i64,
    #[prost(int64, tag = "3")]
    supplement: i64,
    #[prost(int64, tag = "4")]
    fee: i64,
    #[prost(int64, tag = "5")]
    tax: i64,
}

/// The list for its column. `None`: it has one price and nothing else.
pub(in crate::store) fn stored_list(list: &PriceList) -> Result<Option<serde_json::Value>, serde_json::Error> {
    if list.is_plain() {
        return Ok(None);
    }
    let ticket_type = |TicketType { code, name, minor }| StoredTicketType { code, name, price_minor: minor };
    let stored = StoredPriceList {
        ticket_types: list.ticket_types.iter().cloned().map(ticket_type).collect(),
        supplements: list
            .supplements
            .iter()
            .map(|(of, minor)| StoredSupplement { kind: stored_kind(*of), minor: *minor })
            .collect(),
        fee_minor: list.fee,
        tax_basis_points: list.tax_basis_points,
    };
    serde_json::to_value(stored).map(Some)
}

/// The list of a showtime with this price.
pub(in crate::store) fn read_list(
    currency: Currency,
    price_minor: i64,
    stored: Option<&serde_json::Value>,
) -> Result<PriceList, serde_json::Error> {
    let Some(stored) = stored else { return Ok(PriceList::plain(Money { currency, minor: price_minor })) };
    let stored = StoredPriceList::deserialize(stored)?;
    let ticket_type = |StoredTicketType { code, name, price_minor }| TicketType { code, name, minor: price_minor };
    Ok(PriceList {
        currency,
        ticket_types: stored.ticket_types.into_iter().map(ticket_type).collect(),
        supplements: stored
            .supplements
            .into_iter()
            .map(|StoredSupplement { kind: of, minor }| (kind(of), minor))
            .collect(),
        fee: stored.fee_minor,
        tax_basis_points: stored.tax_basis_points,
    })
}

fn stored_kind(kind: SeatKind) -> StoredKind {
    match kind {
        SeatKind::Standard => StoredKind::Standard,
        SeatKind::Accessible => StoredKind::Accessible,
        SeatKind::Companion => StoredKind::Companion,
        SeatKind::Premium => StoredKind::Premium,
    }
}

fn kind(stored: StoredKind) -> SeatKind {
    match stored {
        StoredKind::Standard => SeatKind::Standard,
        StoredKind::Accessible => SeatKind::Accessible,
        StoredKind::Companion => SeatKind::Companion,
        StoredKind::Premium => SeatKind::Premium,
    }
}

impl StoredLines {
    /// `None`: all lines are plain.
    pub(in crate::store) fn of(lines: &Lines) -> Option<Self> {
        let Lines::Each(lines) = lines else { return None };
        let stored = |line: &Line| {
            let Line { ticket_type, price, supplement, fee, tax } = *line;
            StoredLine { ticket_type: ticket_type.into(), price, supplement, fee, tax }
        };
        Some(Self { lines: lines.iter().map(stored).collect() })
    }

    /// The lines of so many seats, which cost `total` together if no lines are stored. `None`: there are not as many.
    pub(in crate::store) fn read(stored: Option<&Self>, count: u16, total: i64) -> Option<Lines> {
        let Some(Self { lines }) = stored else { return Some(Lines::plain(count, total)) };
        let line = |stored: &StoredLine| {
            let StoredLine { ticket_type, price, supplement, fee, tax } = *stored;
            Some(Line { ticket_type: u8::try_from(ticket_type).ok()?, price, supplement, fee, tax })
        };
        let lines: Option<Vec<_>> = lines.iter().map(line).collect();
        Some(Lines::Each(lines.filter(|lines| lines.len() == usize::from(count))?.into()))
    }

    /// The same from the bytes of a column.
    pub(in crate::store) fn read_column(stored: Option<&[u8]>, count: u16, total: i64) -> Option<Lines> {
        let stored = stored.map(Self::decode).transpose().ok()?;
        Self::read(stored.as_ref(), count, total)
    }
}
