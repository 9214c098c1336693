//! The generated code of all contracts. No other file includes generated code.

#![expect(
    missing_docs,
    clippy::pedantic,
    clippy::large_enum_variant,
    reason = "generated from the contracts in `proto/`, whose comments are the documentation"
)]

/// The contracts of this service.
pub mod boxoffice {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("boxoffice.v1");
        include!(concat!(env!("OUT_DIR"), "/services/boxoffice.v1.rs"));
    }
    /// Events: what happened to showtimes and reservations.
    pub mod events {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("boxoffice.events.v1");
        }
    }
    /// The faults of the demo provider and of the demo gateway.
    pub mod demo {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("boxoffice.demo.v1");
        }
    }
}

/// The contract of the movie provider.
pub mod movies {
    tonic::include_proto!("movies");
}

/// The contract of the payment gateway.
pub mod payments {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("payments.v1");
    }
}

/// Messages that Google publishes for all contracts.
pub mod google {
    /// Common types, such as money.
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

/// The encoded descriptor set of all contracts, with imports, options and comments. Reflection and `boxoffice descriptors`
/// serve it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
