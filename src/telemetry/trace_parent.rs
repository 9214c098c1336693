//! A request's place in a trace, as W3C Trace Context writes it in the header `traceparent`.

use std::fmt;

/// The place of a request in a trace. It is written as `00-<trace>-<span>-<flags>`, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace. It is not 0.
    pub trace: u128,
    /// The span in which something was caused. It is not 0.
    pub span: u64,
    /// The lowest bit says whether the trace is sampled.
    pub flags: u8,
}

impl TraceParent {
    /// Reads the header. `None` if it is malformed.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        // Later versions of the header may be longer, but begin with the same fields. Version `ff` is forbidden.
        if value.len() < 55 || [2, 35, 52].iter().any(|at| value[*at] != b'-') || value.starts_with(b"ff") {
            return None;
        }
        let trace = hexadecimal(&value[3..35])?;
        let span = u64::try_from(hexadecimal(&value[36..52])?).ok()?;
        let flags = u8::try_from(hexadecimal(&value[53..55])?).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u128> {
    // `from_str_radix` alone would accept a sign and upper-case digits, which the specification forbids.
    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_traceparent_is_read_and_written() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceParent::parse(header.as_bytes()).unwrap();
        assert_eq!((parent.span, parent.flags), (0xb7ad_6b71_6920_3331, 1));
        assert_eq!(parent.to_string(), header);
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331+01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
