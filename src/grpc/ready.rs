//! Messages that were put into bytes before, and are sent as they are.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType},
};

/// A message in bytes. It is written as what it is in the contract; only the service's side of the code knows it by this.
#[derive(Clone, Debug, Default)]
pub struct Ready(Bytes);

impl Ready {
    /// Puts a message into bytes.
    #[must_use]
    pub fn new(message: &impl Message) -> Self {
        Self(message.encode_to_vec().into())
    }
}

impl From<Bytes> for Ready {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Message for Ready {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    /// Nobody reads one: the service only says it.
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
