//! Receipts.

use super::values::{money, timestamp};
use crate::{
    domain::receipt::{Receipt, ReceiptLine, Vat},
    pb::boxoffice::v1 as pb,
};

pub(crate) fn receipt(receipt: &Receipt) -> pb::Receipt {
    let line = |ReceiptLine { text, total, released }: &ReceiptLine| pb::ReceiptLine {
        text: text.clone(),
        total: Some(money(*total)),
        released: *released,
    };
    let vat = |vat: &Vat| pb::ReceiptVat {
        basis_points: vat.basis_points,
        net: Some(money(vat.net)),
        tax: Some(money(vat.tax)),
        gross: Some(money(vat.gross)),
    };
    pb::Receipt {
        number: receipt.number.clone(),
        issue_time: Some(timestamp(receipt.issue_time)),
        lines: receipt.lines.iter().map(line).collect(),
        vat: receipt.vat.iter().map(vat).collect(),
        total: Some(money(receipt.total)),
        refunded: Some(money(receipt.refunded)),
        text: receipt.text(),
        html: receipt.html(),
    }
}
