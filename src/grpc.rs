//! How it is spoken: services, conversions, and the layers around them.

pub mod layers;
