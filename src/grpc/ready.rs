//! Messages that were encoded once and are sent to many callers.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType},
};

/// An encoded message. The generated services return it in place of the message that it encodes, so it is sent as that
/// message; clients are generated with the message itself.
#[derive(Clone, Debug, Default)]
pub struct Ready(Bytes);

impl From<Bytes> for Ready {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Message for Ready {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    /// Skips the field: a service only sends this type, and never decodes it.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
