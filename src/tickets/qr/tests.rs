//! Tests of QR codes. `tests/clients/python/codes.py` reads them with a scanner's library.

use qrcode::{Color, QrCode};
use uuid::Uuid;

use super::*;
use crate::domain::ticket::{CodeKind, TicketCode};

/// A text of 140 characters that are not alike.
fn text(seed: u64) -> String {
    let random = |at: u64| (seed * 12 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let signature = std::array::from_fn(|at| random(at as u64 / 8)[at % 8]);
    TicketCode::unsigned(CodeKind::Seat(7), 1, random(9), Uuid::from_u64_pair(seed, 10))
        .with_signature(signature)
        .to_text()
}

#[test]
fn the_symbol_is_the_one_that_the_encoder_draws() {
    for seed in 0..40 {
        let text = text(seed);
        assert_eq!(text.len(), 140);
        let mut bits = Bits::new(VERSION);
        bits.push_alphanumeric_data(text.as_bytes()).expect("alphanumeric");
        bits.push_terminator(LEVEL).expect("it fits");
        let expected = QrCode::with_bits(bits, LEVEL).expect("a QR code");
        let symbol = Symbol::of(&text).expect("a QR code");
        for (index, color) in expected.to_colors().into_iter().enumerate() {
            let (x, y) = (index % SIDE, index / SIDE);
            assert_eq!(symbol.is_dark(x, y), color == Color::Dark, "text {seed}, module {x}, {y}");
        }
    }
}

#[test]
fn a_ticket_code_needs_version_8() {
    let text = text(1);
    let smallest = QrCode::with_error_correction_level(&text, LEVEL).expect("a QR code");
    assert_eq!((smallest.version(), smallest.width()), (Version::Normal(8), SIDE));
}

#[test]
fn a_text_that_does_not_fit_is_refused() {
    assert!(Symbol::of(&"A".repeat(157)).is_ok());
    assert!(matches!(Symbol::of(&"A".repeat(158)), Err(QrError::Length(158))));
    assert!(matches!(Symbol::of("ABc"), Err(QrError::Character(2))));
    assert!(matches!(Symbol::of("A\n"), Err(QrError::Character(1))));
}

#[test]
fn the_strokes_of_the_svg_are_the_dark_modules() {
    let symbol = Symbol::of(&text(2)).expect("a QR code");
    let svg = symbol.svg();
    assert!(svg.len() < 6_000, "{} bytes", svg.len());
    let path = svg.split(" d=\"").nth(1).and_then(|rest| rest.strip_suffix("\"/></svg>")).expect("a path");
    let mut drawn = [[false; WHOLE]; WHOLE];
    let (mut x, mut y) = (0, 0);
    for command in path.replace('M', "\nM").replace('m', "\nm").replace('h', "\nh").split('\n').skip(1) {
        let number = |text: &str| text.parse::<usize>().expect("a number");
        match command.split_at(1) {
            ("M", place) => {
                let (column, row) = place.split_once(' ').expect("two numbers");
                (x, y) = (number(column), number(row.strip_suffix(".5").expect("the middle of a row")));
            }
            ("m", place) => x += number(place.strip_suffix(" 0").expect("the same row")),
            (_, length) => {
                drawn[y][x..x + number(length)].fill(true);
                x += number(length);
            }
        }
    }
    for (y, row) in drawn.iter().enumerate() {
        for (x, drawn) in row.iter().enumerate() {
            let dark = x >= QUIET && y >= QUIET && symbol.is_dark(x - QUIET, y - QUIET);
            assert_eq!(*drawn, dark, "{x}, {y}");
        }
    }
}

#[test]
fn the_pixels_of_the_png_are_the_modules() {
    let symbol = Symbol::of(&text(3)).expect("a QR code");
    for pixels in [1, 3, 8, MOST_PIXELS] {
        let file = symbol.png(pixels).expect("a PNG");
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a PNG");
        assert_eq!(reader.info().bit_depth, png::BitDepth::One);
        let side = WHOLE * usize::from(pixels);
        assert_eq!(reader.info().size(), (side as u32, side as u32));
        let mut image = vec![0; reader.output_buffer_size().expect("a size")];
        let line = reader.next_frame(&mut image).expect("an image").line_size;
        for (x, y) in (0..side * side).map(|at| (at % side, at / side)) {
            let module = |pixel: usize| (pixel / usize::from(pixels)).wrapping_sub(QUIET);
            let dark = image[y * line + x / 8] & 0x80 >> (x % 8) == 0;
            assert_eq!(dark, symbol.is_dark(module(x), module(y)), "{x}, {y} with {pixels} pixels");
        }
    }
    assert!(matches!(symbol.png(0), Err(QrError::Pixels(0))));
    assert!(matches!(symbol.png(33), Err(QrError::Pixels(33))));
}

#[test]
fn the_half_blocks_of_the_text_are_the_modules() {
    let symbol = Symbol::of(&text(4)).expect("a QR code");
    let text = symbol.text();
    assert_eq!(text.lines().count(), 29);
    for (row, line) in text.lines().enumerate() {
        assert_eq!(line.chars().count(), WHOLE);
        for (x, half) in line.chars().enumerate() {
            let dark = |y: usize| y == WHOLE || symbol.is_dark(x.wrapping_sub(QUIET), y.wrapping_sub(QUIET));
            let expected = match (dark(2 * row), dark(2 * row + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            };
            assert_eq!(half, expected, "{x}, {row}");
        }
    }
}
