//! Parts of SQL that are written as text.

use sea_orm::DbBackend;

/// The columns of a `ReservationRow`, from `FROM_RESERVATIONS`.
pub(super) const RESERVATION_COLUMNS: &str = "r.reservation_id, r.showtime_id, r.customer_id, r.first_seat, \
    r.seat_count, s.currency, r.total_minor, r.create_time, r.first_expire_time, r.expire_time, r.first_revision, r.state, \
    r.revision, r.confirm_time, r.tender_method, r.tender_transaction, r.cancel_time, r.lines, \
    r.amendment, r.refund_due_time, r.pay_until, r.purchase_id";

/// The tables of `RESERVATION_COLUMNS`.
pub(super) const FROM_RESERVATIONS: &str = "FROM reservations r JOIN showtimes s ON s.showtime_id = r.showtime_id";

/// The condition that an id is in the list that a parameter has (see `dialect::id_list`).
pub(super) fn ids_among(backend: DbBackend, parameter: usize) -> String {
    if backend == DbBackend::Sqlite {
        format!("IN (SELECT unhex(value) FROM json_each(${parameter}))")
    } else {
        format!("= ANY(${parameter})")
    }
}

/// The condition that a text is in the list that a parameter has (see `dialect::text_list`).
pub(super) fn texts_among(backend: DbBackend, parameter: usize) -> String {
    if backend == DbBackend::Sqlite {
        format!("IN (SELECT value FROM json_each(${parameter}))")
    } else {
        format!("= ANY(${parameter})")
    }
}

/// Bytes as hexadecimal digits.
pub(in crate::store) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}
