//! The QR code of a ticket: version 8, level Q, alphanumeric, as SVG, PNG or text.
//!
//! Level Q restores a quarter of the codewords. The version is fixed, because every ticket code has the same length, and so all
//! tickets look alike. The encoder is that of `qrcode`. Its choice of the mask takes 1.2 ms for each symbol, so the choice is
//! made here, by the same rules, on rows of bits.

use std::{fmt::Write, sync::LazyLock};

use qrcode::{
    EcLevel, Version,
    bits::Bits,
    canvas::{Canvas, MaskPattern, Module},
    ec,
};

use crate::domain::ticket::is_base45;

/// The modules of a side of version 8, without the quiet zone.
const SIDE: usize = 49;
/// The light modules that a scanner needs on each side.
const QUIET: usize = 4;
/// The modules of a side with its quiet zones.
const WHOLE: usize = SIDE + 2 * QUIET;
/// The most characters that version 8 takes at level Q.
const LONGEST: usize = 157;
/// The most pixels for each side of a module. A PNG has at most 1,824 × 1,824 pixels then.
const MOST_PIXELS: u8 = 32;

const VERSION: Version = Version::Normal(8);
const LEVEL: EcLevel = EcLevel::Q;

/// Why a QR code is not drawn.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// The text has a character that is not alphanumeric in the sense of QR codes.
    #[error("the character at position {0} is not one of base45, so the QR code would not be alphanumeric")]
    Character(usize),
    /// The text is too long.
    #[error("a QR code of version 8 and level Q has at most {LONGEST} characters, not {0}")]
    Length(usize),
    /// The size of a module is out of bounds.
    #[error("a module has 1 to {MOST_PIXELS} pixels, not {0}")]
    Pixels(u8),
    /// The encoder refused the text.
    #[error("the QR code cannot be encoded")]
    Encoder(#[from] qrcode::types::QrError),
    /// The PNG cannot be written.
    #[error("the PNG cannot be written")]
    Png(#[from] png::EncodingError),
}

/// The modules of a line, one for each bit, with a 1 for a dark one. The lowest bit is the left or upper module.
type Lines = [u64; SIDE];

/// The bits of a line that are modules.
const LINE: u64 = (1 << SIDE) - 1;

/// The modules of a QR code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol(Lines);

impl Symbol {
    /// The QR code of a text, such as that of a ticket code.
    ///
    /// # Errors
    /// The text has other characters than base45, or more than 157.
    pub fn of(text: &str) -> Result<Self, QrError> {
        if let Some(position) = text.bytes().position(|byte| !is_base45(byte)) {
            return Err(QrError::Character(position));
        }
        if text.len() > LONGEST {
            return Err(QrError::Length(text.len()));
        }
        let mut bits = Bits::new(VERSION);
        bits.push_alphanumeric_data(text.as_bytes())?;
        bits.push_terminator(LEVEL)?;
        let (data, correction) = ec::construct_codewords(&bits.into_bytes(), VERSION, LEVEL)?;
        let mut canvas = PATTERNS.canvas.clone();
        canvas.draw_data(&data, &correction);
        let data = Grid::of(&canvas, |module| module == Module::Unmasked(qrcode::Color::Dark));
        let masked = PATTERNS.masks.iter().map(|mask| data.combined(mask)).min_by_key(Grid::penalty);
        Ok(Self(masked.unwrap_or(data).rows))
    }

    /// Whether a module is dark. The quiet zone is not counted; what is outside is light.
    #[must_use]
    pub fn is_dark(&self, x: usize, y: usize) -> bool {
        x < SIDE && self.0.get(y).is_some_and(|row| row >> x & 1 == 1)
    }

    /// An SVG without a size of its own: it is as large as the page makes it. Each run of dark modules is a horizontal stroke.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = String::with_capacity(6_000);
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WHOLE} {WHOLE}\" shape-rendering=\"crispEdges\">\
             <rect width=\"{WHOLE}\" height=\"{WHOLE}\" fill=\"#fff\"/><path stroke=\"#000\" d=\""
        );
        for (y, row) in self.0.iter().enumerate() {
            let (mut rest, mut x) = (*row, 0);
            while rest != 0 {
                let light = rest.trailing_zeros();
                let dark = (rest >> light).trailing_ones();
                if x == 0 {
                    let _ = write!(svg, "M{} {}.5h{dark}", QUIET + light as usize, QUIET + y);
                } else {
                    let _ = write!(svg, "m{light} 0h{dark}");
                }
                x += light + dark;
                rest = rest >> light >> dark;
            }
        }
        svg.push_str("\"/></svg>");
        svg
    }

    /// A PNG with 1 bit for each pixel, and this many pixels for each side of a module.
    ///
    /// # Errors
    /// A module has no pixels, or more than 32.
    pub fn png(&self, pixels: u8) -> Result<Vec<u8>, QrError> {
        if !(1..=MOST_PIXELS).contains(&pixels) {
            return Err(QrError::Pixels(pixels));
        }
        let pixels = usize::from(pixels);
        let side = WHOLE * pixels;
        let bytes = side.div_ceil(8);
        let mut image = vec![0xff; bytes * side];
        for (line, row) in image.chunks_mut(bytes * pixels).skip(QUIET).zip(&self.0) {
            for x in (0..SIDE).filter(|x| row >> x & 1 == 1) {
                for pixel in (QUIET + x) * pixels..(QUIET + x + 1) * pixels {
                    line[pixel / 8] &= !(0x80 >> (pixel % 8));
                }
            }
            for copy in 1..pixels {
                line.copy_within(..bytes, copy * bytes);
            }
        }
        let mut file = Vec::new();
        // At most 32 × 57 pixels.
        let mut encoder = png::Encoder::new(&mut file, side as u32, side as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        // A line is mostly like the one above it. The default takes eight times as long to make half as many bytes.
        encoder.set_filter(png::Filter::Up);
        encoder.set_compression(png::Compression::Fast);
        encoder.write_header()?.write_image_data(&image)?;
        Ok(file)
    }

    /// Lines of half blocks, for a terminal that writes light on dark: a light module is drawn, a dark one is left blank.
    #[must_use]
    pub fn text(&self) -> String {
        let light = |x: usize, y: usize| {
            let inside = x.checked_sub(QUIET).zip(y.checked_sub(QUIET));
            y < WHOLE && !inside.is_some_and(|(x, y)| self.is_dark(x, y))
        };
        let mut text = String::with_capacity(WHOLE.div_ceil(2) * (3 * WHOLE + 1));
        for y in (0..WHOLE).step_by(2) {
            text.extend((0..WHOLE).map(|x| match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            }));
            text.push('\n');
        }
        text
    }
}

/// What all symbols have in common.
struct Patterns {
    /// The patterns by which a scanner finds its way.
    canvas: Canvas,
    /// Each of the 8 masks where data goes, together with these patterns and with the number of the mask.
    masks: Vec<Grid>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let mut canvas = Canvas::new(VERSION, LEVEL);
    canvas.draw_all_functional_patterns();
    let mask = |pattern| {
        let mut masked = canvas.clone();
        masked.apply_mask(pattern);
        Grid::of(&masked, Module::is_dark)
    };
    let masks = [
        MaskPattern::Checkerboard,
        MaskPattern::HorizontalLines,
        MaskPattern::VerticalLines,
        MaskPattern::DiagonalLines,
        MaskPattern::LargeCheckerboard,
        MaskPattern::Fields,
        MaskPattern::Diamonds,
        MaskPattern::Meadow,
    ];
    let masks = masks.into_iter().map(mask).collect();
    Patterns { canvas, masks }
});

/// Modules as rows and as columns, so that both directions are judged a line at a time.
#[derive(Clone)]
struct Grid {
    rows: Lines,
    columns: Lines,
}

impl Grid {
    fn of(canvas: &Canvas, is_dark: impl Fn(Module) -> bool) -> Self {
        let mut grid = Self { rows: [0; SIDE], columns: [0; SIDE] };
        for (y, row) in grid.rows.iter_mut().enumerate() {
            for (x, column) in grid.columns.iter_mut().enumerate() {
                // Both are below 49.
                let dark = u64::from(is_dark(canvas.get(x as i16, y as i16)));
                *row |= dark << x;
                *column |= dark << y;
            }
        }
        grid
    }

    /// A module is inverted where the mask is dark.
    fn combined(&self, mask: &Self) -> Self {
        let combined = |lines: &Lines, mask: &Lines| std::array::from_fn(|at| lines[at] ^ mask[at]);
        Self { rows: combined(&self.rows, &mask.rows), columns: combined(&self.columns, &mask.columns) }
    }

    /// The penalty of ISO 18004: the mask with the lowest is the easiest to scan.
    fn penalty(&self) -> u32 {
        let lines = self.rows.iter().chain(&self.columns);
        let lines: u32 = lines.map(|line| runs(*line) + runs(!line & LINE) + finders(*line)).sum();
        let blocks: u32 = self.rows.windows(2).map(|pair| blocks(pair[0], pair[1])).sum();
        let dark: u32 = self.rows.iter().map(|row| row.count_ones()).sum();
        // In steps of half a percent instead of ten points for each 5 %, as the encoder does it.
        let imbalance = (dark * 200 / (SIDE * SIDE) as u32).abs_diff(100);
        lines + blocks + imbalance
    }
}

/// A run of n modules of one colour, at least 5, has n - 2 points.
fn runs(line: u64) -> u32 {
    let five = line & line >> 1 & line >> 2 & line >> 3 & line >> 4;
    five.count_ones() + 2 * (five & !(five << 1)).count_ones()
}

/// A row of modules like those of a finder pattern, with four light ones on a side, has 40 points.
fn finders(line: u64) -> u32 {
    let dark = line << QUIET;
    let light = !dark;
    let pattern = dark & light >> 1 & dark >> 2 & dark >> 3 & dark >> 4 & light >> 5 & dark >> 6;
    let before = light << 1 & light << 2 & light << 3 & light << 4;
    let after = light >> 7 & light >> 8 & light >> 9 & light >> 10;
    40 * (pattern & (before | after)).count_ones()
}

/// A block of 2 × 2 modules of one colour has 3 points.
fn blocks(upper: u64, lower: u64) -> u32 {
    let like_right = |line: u64| !(line ^ line >> 1) & LINE >> 1;
    3 * (like_right(upper) & like_right(lower) & !(upper ^ lower)).count_ones()
}

#[cfg(test)]
mod tests;
