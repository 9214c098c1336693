//! Conversions between messages and the domain: requests are checked on the way in, values are written on the way out.
//!
//! The rules annotated in the protos are enforced here and in the constructors of `domain`. Every violation of a request is
//! reported at once.

mod auditoriums;
mod blocked_seats;
mod common;
mod doors;
mod events;
mod movies;
mod operations;
mod payments;
mod prices;
mod purchases;
mod receipts;
mod refunds;
mod reports;
mod reservations;
mod seat_maps;
mod seats;
mod showtimes;
mod tickets;
mod values;

pub(super) use auditoriums::{auditorium, auditorium_id, list_auditoriums, new_auditorium};
pub(super) use blocked_seats::{block_seats, blocked_seats, unblock_seats};
pub(super) use doors::{door, door_list, door_message, upload, upload_scans};
pub(super) use events::{event_feed, feed_event, subscribe_events};
pub(super) use movies::{movie, movie_id, search_movies};
pub(super) use operations::{
    any_page, dead_letter, drop_dead_letters, list_dead_letters, redrive_dead_letters, resume_purchase, resume_refund,
    retire_signing_key, settle_purchase, settle_refund, stuck_purchase, stuck_refund,
};
pub(super) use payments::{cash_up, get_cash_up, list_payments, payment, payment_ref};
pub(super) use purchases::{
    buyers_purchase, continue_purchase, get_purchase, list_purchases, purchase, purchase_ref, purchase_tickets,
};
pub(super) use receipts::receipt;
pub(super) use refunds::{refund, refund_payment};
pub(super) use reports::{get_hold_conversion, get_occupancy, get_sales, hold_conversion, occupancy, sales};
pub(super) use reservations::{
    confirm, exchange_seats, list_reservations, release_seats, reservation, reservation_ref, reserve, rules, validated,
    verdict,
};
pub(super) use seat_maps::{seat_map, seat_map_delta, watch_seat_map};
pub(super) use seats::{block, seat, seats};
pub(super) use showtimes::{
    cancel_showtime, encoded_page, encoded_showtime, list_showtimes, new_showtime, showtime, showtime_at_least,
    showtime_id,
};
pub(super) use tickets::{
    list_tickets, signing_key, ticket, ticket_code, ticket_number, ticket_page, ticket_ref, use_ticket, used_tickets,
    validate_ticket, validated_ticket,
};
pub(super) use values::timestamp;
