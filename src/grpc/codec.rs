//! How messages are read: protobuf, with a refusal by name for bytes that are none.
//!
//! tonic's own codec calls a request that does not parse INTERNAL. It is the caller's mistake, and nobody here should be
//! woken up for it.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Code, Status,
    codec::{self, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::status::DOMAIN;

/// What our services are generated with.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(PhantomData)
    }
}

/// Reads messages of one type.
#[derive(Clone, Debug)]
pub struct Reader<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(bytes).map(Some).map_err(|error| {
            let details = ErrorDetails::with_error_info("MALFORMED_MESSAGE", DOMAIN, []);
            Status::with_error_details(Code::InvalidArgument, format!("the message does not parse: {error}"), details)
        })
    }
}
