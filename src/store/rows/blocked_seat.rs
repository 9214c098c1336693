//! Blocked seats as they are stored.

use crate::domain::seating::BlockReason;

pub(in crate::store) fn stored_reason(reason: BlockReason) -> &'static str {
    match reason {
        BlockReason::House => "house",
        BlockReason::Maintenance => "maintenance",
        BlockReason::Company => "company",
        BlockReason::SalesChannel => "sales_channel",
    }
}

/// The reason that is stored like this.
pub(in crate::store) fn reason(stored: &str) -> Option<BlockReason> {
    let reasons = [BlockReason::House, BlockReason::Maintenance, BlockReason::Company, BlockReason::SalesChannel];
    reasons.into_iter().find(|reason| stored_reason(*reason) == stored)
}
