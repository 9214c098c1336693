//! How messages are read and written: protobuf, with a refusal by name for bytes that are none.
//!
//! tonic's own codec calls a request that does not parse INTERNAL. It is the caller's mistake, and nobody here should be
//! woken up for it. And it takes 8 KiB for each request and each answer, which a watcher's stream would keep.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Code, Status,
    codec::{self, BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::status::DOMAIN;

/// Most messages fit into this. For others there is exactly as much as they need.
const BUFFER: usize = 512;
/// When several messages are said at once, so much of them goes out together.
const TOGETHER: usize = 32 << 10;

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
    type Encoder = Writer<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Writer(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(PhantomData)
    }
}

/// Writes messages of one type.
#[derive(Clone, Debug)]
pub struct Writer<T>(PhantomData<T>);

impl<T: Message> Encoder for Writer<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes.reserve(message.encoded_len());
        message.encode_raw(bytes);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, TOGETHER)
    }
}

/// Reads messages of one type.
#[derive(Clone, Debug)]
pub struct Reader<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, TOGETHER)
    }

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(bytes).map(Some).map_err(|error| {
            let details = ErrorDetails::with_error_info("MALFORMED_MESSAGE", DOMAIN, []);
            Status::with_error_details(Code::InvalidArgument, format!("the message does not parse: {error}"), details)
        })
    }
}
