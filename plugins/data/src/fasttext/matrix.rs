//! Rows of numbers, plain or as codes.
//!
//! A product quantiser cuts a row into short pieces and stores for each the number of the nearest of 256 centroids
//! (Jégou et al. 2011); with `norm` the length of a row is quantised apart from its direction. Rows of a small matrix
//! are decoded once: addition then reads one line of memory where codes need a look-up per piece. A large one stays as
//! it is, since decoded it takes sixteen times the memory.

use super::input::{Input, Result, damaged};

/// Numbers up to which codes are decoded when a model is read: 48 MB.
const DECODED: usize = 12 << 20;
/// Centroids of a piece: codes are bytes.
const CENTROIDS: usize = 256;

/// A matrix `[rows, width]`.
#[derive(Debug)]
pub(super) struct Matrix {
    rows: usize,
    width: usize,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Plain(Vec<f32>),
    Codes(Codes),
}

/// A matrix as the codes of a product quantiser.
#[derive(Debug)]
struct Codes {
    /// One per piece, row after row.
    numbers: Vec<u8>,
    pieces: Pieces,
    norm: Option<(Vec<u8>, Pieces)>,
}

/// The centroids of every piece of a row.
#[derive(Debug)]
struct Pieces {
    /// Pieces of a row.
    count: usize,
    /// Numbers of a piece; the last one may have fewer.
    length: usize,
    last: usize,
    centroids: Vec<f32>,
}

impl Matrix {
    pub(super) fn read_plain(input: &mut Input) -> Result<Self> {
        let (rows, width) = (input.count64("rows")?, input.count64("columns")?);
        let Some(count) = rows.checked_mul(width) else { return damaged(format!("a matrix of {rows} by {width}")) };
        Ok(Self { rows, width, store: Store::Plain(input.floats(count)?) })
    }

    pub(super) fn read_codes(input: &mut Input) -> Result<Self> {
        let with_norm = input.bool()?;
        let (rows, width) = (input.count64("rows")?, input.count64("columns")?);
        let count = input.count32("codes")?;
        let numbers = input.block(count)?;
        let pieces = Pieces::read(input, width)?;
        if rows.checked_mul(pieces.count) != Some(numbers.len()) {
            return damaged(format!("{} codes for {rows} rows of {} pieces", numbers.len(), pieces.count));
        }
        let norm = if with_norm {
            let codes = input.block(rows)?;
            Some((codes, Pieces::read(input, 1)?))
        } else {
            None
        };
        let codes = Codes { numbers, pieces, norm };
        // The matrix may have many more numbers than its file has bytes, yet never more than is worth decoding.
        let store = match rows.checked_mul(width) {
            Some(count) if count <= DECODED => Store::Plain(codes.decode(rows, width)),
            _ => Store::Codes(codes),
        };
        Ok(Self { rows, width, store })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Adds a row to `sum`.
    pub(super) fn add_row(&self, row: usize, sum: &mut [f32]) {
        match &self.store {
            Store::Plain(values) => {
                let row = &values[row * self.width..][..self.width];
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            Store::Codes(codes) => {
                let norm = codes.norm(row);
                codes.each_piece(row, |at, piece| {
                    sum[at..].iter_mut().zip(piece).for_each(|(sum, value)| *sum += norm * value);
                });
            }
        }
    }

    /// The dot product of a row with `vector`, summed from the first to the last number as fastText does.
    pub(super) fn dot(&self, row: usize, vector: &[f32]) -> f32 {
        let mut dot = 0.0;
        match &self.store {
            Store::Plain(values) => {
                let row = &values[row * self.width..][..self.width];
                row.iter().zip(vector).for_each(|(a, b)| dot += a * b);
                dot
            }
            Store::Codes(codes) => {
                codes.each_piece(row, |at, piece| {
                    vector[at..].iter().zip(piece).for_each(|(a, b)| dot += a * b);
                });
                dot * codes.norm(row)
            }
        }
    }
}

impl Codes {
    fn norm(&self, row: usize) -> f32 {
        self.norm.as_ref().map_or(1.0, |(codes, pieces)| pieces.centroid(0, codes[row])[0])
    }

    /// Hands each piece of a row to `each`, with where in the row it stands.
    fn each_piece(&self, row: usize, mut each: impl FnMut(usize, &[f32])) {
        let codes = &self.numbers[row * self.pieces.count..][..self.pieces.count];
        for (piece, code) in codes.iter().enumerate() {
            each(piece * self.pieces.length, self.pieces.centroid(piece, *code));
        }
    }

    fn decode(&self, rows: usize, width: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(rows * width);
        for row in 0..rows {
            let norm = self.norm(row);
            self.each_piece(row, |_, piece| values.extend(piece.iter().map(|value| norm * value)));
        }
        values
    }
}

impl Pieces {
    fn read(input: &mut Input, width: usize) -> Result<Self> {
        let claimed = input.count32("columns")?;
        let count = input.count32("pieces")?;
        let length = input.count32("columns")?;
        let last = input.count32("columns")?;
        let fits = count > 0 && last > 0 && last <= length;
        let covered = (count.max(1) - 1).checked_mul(length).and_then(|before| before.checked_add(last));
        if !fits || claimed != width || covered != Some(width) {
            return damaged(format!("{count} pieces of {length}, the last of {last}, for {width} columns"));
        }
        let Some(numbers) = width.checked_mul(CENTROIDS) else { return damaged(format!("{width} columns")) };
        Ok(Self { count, length, last, centroids: input.floats(numbers)? })
    }

    fn centroid(&self, piece: usize, code: u8) -> &[f32] {
        let length = if piece + 1 == self.count { self.last } else { self.length };
        let start = piece * CENTROIDS * self.length + usize::from(code) * length;
        &self.centroids[start..][..length]
    }
}
