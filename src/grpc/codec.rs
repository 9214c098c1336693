//! Encodes and decodes protobuf messages for our services.
//!
//! It differs from tonic's own codec in two ways. A request that does not decode is the caller's mistake, so it is refused
//! with `INVALID_ARGUMENT` and the reason `MALFORMED_MESSAGE`; tonic answers INTERNAL, which would alert an operator. And a
//! buffer has 512 bytes at first; tonic's has 8 KiB for each request and each response, which a stream keeps until it ends.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{self, BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::status::transport;

/// First capacity of a buffer, in bytes. Most messages fit; for a longer one exactly its length is reserved.
const BUFFER_BYTES: usize = 512;
/// Messages of a stream that are ready at the same time are sent together, up to about this many bytes.
const YIELD_BYTES: usize = 32 << 10;

/// The codec that our services are generated with.
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
    type Encoder = MessageEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

/// Encodes messages of one type.
#[derive(Clone, Debug)]
pub struct MessageEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes.reserve(message.encoded_len());
        message.encode_raw(bytes);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

/// Decodes messages of one type.
#[derive(Clone, Debug)]
pub struct MessageDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(bytes).map(Some).map_err(|error| transport::malformed_message(&error))
    }
}
