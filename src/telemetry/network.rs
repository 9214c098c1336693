//! How the addresses of peers are distinguished where they are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The address by which a peer is counted. An IPv6 network of 64 bits counts as one, since its owner has all its addresses.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}
