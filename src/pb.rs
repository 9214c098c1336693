//! The only include of generated code.

#![expect(missing_docs, clippy::pedantic, reason = "generated; the contracts in `proto/` are the documentation")]

/// Our own contract.
pub mod boxoffice {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("boxoffice.v1");
        include!(concat!(env!("OUT_DIR"), "/services/boxoffice.v1.rs"));
    }
    /// What happened, as others are told.
    pub mod events {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("boxoffice.events.v1");
        }
    }
    /// The demo provider's knobs.
    pub mod demo {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("boxoffice.demo.v1");
        }
    }
}

/// The movie provider's contract.
pub mod movies {
    tonic::include_proto!("movies");
}

/// Types that Google shares between its contracts.
pub mod google {
    /// Common types.
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

/// Every contract, encoded, with imports and options: what reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
