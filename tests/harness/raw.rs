//! gRPC calls with any path and any bytes, which generated clients cannot send.

use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Makes one unary call. Request and response are encoded messages.
pub(crate) async fn call(channel: Channel, path: &str, message: impl Into<Bytes>) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(format!("not connected: {error}")))?;
    let path = path.parse().expect("a path");
    Ok(client.unary(Request::new(message.into()), path, BytesCodec).await?.into_inner())
}

/// Calls a method with a server stream and returns the first message, or no bytes if the stream ends without one.
pub(crate) async fn first(channel: Channel, path: &str, message: impl Into<Bytes>) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(format!("not connected: {error}")))?;
    let path = path.parse().expect("a path");
    let mut stream = client.server_streaming(Request::new(message.into()), path, BytesCodec).await?.into_inner();
    Ok(stream.message().await?.unwrap_or_default())
}

struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
