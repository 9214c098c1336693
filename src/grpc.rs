//! How it is spoken: our contract over gRPC, one file for each service.

mod auditoriums;
pub mod codec;
mod convert;
pub mod layers;
mod methods;
mod movies;
pub mod ready;
mod request_context;
mod requests;
mod reservations;
mod seat_maps;
mod services;
mod showtimes;
mod status;

pub use services::{SERVICES, Services, Watching, services};
