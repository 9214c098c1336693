//! The gRPC API: our contract, one file for each service.

mod auditoriums;
pub mod codec;
pub mod connections;
mod convert;
mod events;
mod handler;
pub mod layers;
mod methods;
mod movies;
mod operations;
mod payments;
mod purchases;
pub mod ready;
mod reports;
mod request_context;
mod request_id;
mod reservations;
mod seat_maps;
mod services;
mod showtimes;
mod status;
mod tickets;

pub use services::{SERVICES, Services, Watching, services};
