//! Second moments of a matrix as the product of a row and a column (Adafactor, Shazeer and Stern 2018).
//!
//! An update is the gradient times `min(row[i] * column[j], cap)`, the two factors being 1 / root of the parts of the
//! moment. So nothing of the matrix's size is kept, and each pass reads the gradient once.

use psann_core::{Error, Result};
use tch::{Kind, Tensor};

use super::{ffi, is_plain};

/// Sums of `(scale * x)^2 + added` over each row and each column of `x` [rows, columns], in fp64.
pub fn squares(x: &Tensor, scale: f64, added: f64) -> Result<(Tensor, Tensor)> {
    let [rows, columns] = matrix(x)?;
    if is_plain(x, Kind::Float) {
        let sums = |size: i64| Tensor::zeros([size], (Kind::Double, x.device()));
        let (mut of_rows, mut of_columns) = (sums(rows), sums(columns));
        ffi::squares(x, scale, added, &mut of_rows, &mut of_columns)?;
        return Ok((of_rows, of_columns));
    }
    let squares = (x * scale).square() + added;
    let over = |dim: i64| squares.sum_dim_intlist([dim].as_slice(), false, Kind::Double);
    Ok((over(1), over(0)))
}

/// What makes updates of gradients.
#[derive(Debug)]
pub struct Factors {
    pub(super) rows: Tensor,
    pub(super) columns: Tensor,
    pub(super) cap: f64,
    pub(super) gradient_scale: f64,
}

impl Factors {
    /// Factors of `rows` [rows] and `columns` [columns], fp32, the greatest product of two, and a factor on the gradient.
    pub fn new(rows: &Tensor, columns: &Tensor, cap: f64, gradient_scale: f64) -> Self {
        // Infinity times a gradient of zero would be no number.
        let finite = |factors: &Tensor| factors.clamp_max(f64::from(f32::MAX)).contiguous();
        Self { rows: finite(rows), columns: finite(columns), cap: cap.min(f64::from(f32::MAX)), gradient_scale }
    }

    /// Sum of squares of the updates, in double precision; does not depend on the number of threads.
    pub fn squared_sum(&self, gradient: &Tensor) -> Result<f64> {
        self.check(gradient)?;
        if self.is_plain() && is_plain(gradient, Kind::Float) {
            return ffi::factored_sum(gradient, self);
        }
        Ok(self.update(gradient).square().sum(Kind::Double).double_value(&[]))
    }

    /// Makes `value` become `value * decay - rate * update`.
    pub fn apply(&self, value: &mut Tensor, gradient: &Tensor, decay: f64, rate: f64) -> Result<()> {
        self.check(gradient)?;
        self.check(value)?;
        if self.is_plain() && is_plain(gradient, Kind::Float) && is_plain(value, Kind::Float) {
            return ffi::factored_move(value, gradient, self, decay, rate);
        }
        let moved = &*value * decay - self.update(gradient) * rate;
        value.copy_(&moved);
        Ok(())
    }

    /// The updates themselves.
    pub fn update(&self, gradient: &Tensor) -> Tensor {
        (self.rows.unsqueeze(-1) * &self.columns).clamp_max(self.cap) * (gradient * self.gradient_scale)
    }

    fn is_plain(&self) -> bool {
        is_plain(&self.rows, Kind::Float) && is_plain(&self.columns, Kind::Float)
    }

    fn check(&self, matrix: &Tensor) -> Result<()> {
        let expected = [self.rows.numel() as i64, self.columns.numel() as i64];
        if matrix.size() == expected {
            return Ok(());
        }
        Err(Error::new(format!("factors of a matrix {expected:?} met one of {:?}", matrix.size())))
    }
}

fn matrix(x: &Tensor) -> Result<[i64; 2]> {
    let shape = x.size();
    <[i64; 2]>::try_from(shape.as_slice()).map_err(|_| Error::new(format!("expected a matrix, found {shape:?}")))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn off(a: &Tensor, b: &Tensor) -> f64 {
        let b = b.to_kind(Kind::Double);
        ((a.to_kind(Kind::Double) - &b).abs().max() / b.abs().max()).double_value(&[])
    }

    #[test]
    fn kernels_follow_the_composed_formula() {
        tch::manual_seed(1);
        for (rows, columns) in [(1, 1), (3, 700), (1100, 37)] {
            let gradient = Tensor::randn([rows, columns], (Kind::Float, Device::Cpu));
            let wide = gradient.to_kind(Kind::Double);
            let (found, expected) = (squares(&gradient, 0.5, 0.25).unwrap(), squares(&wide, 0.5, 0.25).unwrap());
            assert!(off(&found.0, &expected.0) < 1e-6 && off(&found.1, &expected.1) < 1e-6);

            let factors = |kind| {
                let part = |sums: &Tensor| sums.rsqrt().to_kind(Kind::Float).to_kind(kind);
                Factors::new(&part(&expected.0), &part(&expected.1), 0.01, 0.5)
            };
            let (narrow, double) = (factors(Kind::Float), factors(Kind::Double));
            let (found, sum) = (narrow.squared_sum(&gradient).unwrap(), double.squared_sum(&wide).unwrap());
            assert!((found - sum).abs() < 1e-6 * sum, "{found} {sum}");
            let (mut value, mut exact) = (gradient.ones_like(), wide.ones_like());
            narrow.apply(&mut value, &gradient, 0.9, 0.5).unwrap();
            double.apply(&mut exact, &wide, 0.9, 0.5).unwrap();
            assert!(off(&value, &exact) < 1e-6);
        }
    }

    #[test]
    fn rows_and_columns_of_zeros_make_no_update() {
        let gradient = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let (rows, columns) = squares(&gradient, 1.0, 0.0).unwrap();
        let part = |sums: &Tensor| sums.rsqrt().to_kind(Kind::Float);
        for cap in [1e7, f64::INFINITY] {
            let factors = Factors::new(&part(&rows), &part(&columns), cap, 1.0);
            assert_eq!(factors.squared_sum(&gradient).unwrap(), 0.0);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        tch::manual_seed(2);
        let gradient = Tensor::randn([2000, 50], (Kind::Float, Device::Cpu));
        let threads = crate::threads::get();
        let by_threads = [1, 3].map(|count| {
            crate::threads::set(count);
            squares(&gradient, 1.0, 0.0).unwrap()
        });
        crate::threads::set(threads);
        assert_eq!(by_threads[0], by_threads[1]);
    }
}
