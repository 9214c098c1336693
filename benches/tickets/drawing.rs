//! Codes that are drawn as SVG, one after the other on one thread.

use boxoffice::{
    clock::Clock,
    domain::ticket::{CodeKind, TicketCode},
    tickets::Symbol,
};

use crate::wire::{
    load::{Answer, Caller, drive},
    tally::Outcome,
};

struct Drawer {
    seat: u16,
}

impl Caller for Drawer {
    async fn call(&mut self) -> Option<Answer> {
        self.seat = self.seat.wrapping_add(1);
        let unsigned =
            TicketCode::unsigned(CodeKind::Seat(self.seat), 1, Clock::System.random_bits(), Clock::System.new_id());
        let text = unsigned.with_signature([self.seat as u8; 64]).to_text();
        let drawn = Symbol::of(&text).expect("it is drawn").svg();
        Some(Answer { bytes: drawn.len(), failed: false })
    }
}

pub(crate) async fn run(seconds: f64) -> Outcome {
    drive(seconds, vec![Drawer { seat: 0 }]).await
}
