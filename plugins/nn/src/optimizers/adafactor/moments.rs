//! Second moments of one shard, factored where the parameter has two dimensions or more, and the updates that follow.

use std::collections::BTreeMap;

use psann_core::model::ParameterSpec;
use psann_core::optimizer::{Part, StateTensor};
use psann_core::{Error, Result};
use psann_torch::optimizer::factored::{Factors, squares};
use psann_torch::optimizer::squared_sum;
use tch::{Kind, Tensor};

use super::options::{AdafactorOptions, Rule};

/// Second moments, fp32.
#[derive(Debug)]
pub enum Second {
    /// A matrix: `rows` [rows of the shard] and `columns`, the same on every rank.
    Matrix { rows: Tensor, columns: Tensor },
    /// A stack of matrices, the last two dimensions: means over the last and over the one before. A rank has whole matrices.
    Stack { rows: Tensor, columns: Tensor },
    /// A vector or a number.
    Whole(Tensor),
}

/// What makes an update of a gradient.
#[derive(Debug)]
pub enum Update {
    /// Of a matrix, from the gradient.
    Factored(Factors),
    /// The update itself.
    Ready(Tensor),
}

/// Elements of state for `rows` rows of a parameter.
pub fn elements(spec: &ParameterSpec, rows: i64) -> u64 {
    let held = spec.elements_of(rows);
    match spec.shape.as_slice() {
        [_, columns] => rows.unsigned_abs() + columns.unsigned_abs(),
        [.., above, last] => {
            held.checked_div(last.unsigned_abs()).unwrap_or(0) + held.checked_div(above.unsigned_abs()).unwrap_or(0)
        }
        _ => held,
    }
}

/// Names of row, column and whole moments.
fn names(rule: Rule) -> [&'static str; 3] {
    match rule {
        Rule::Torch => ["row_var", "col_var", "variance"],
        Rule::Fairseq => ["exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq"],
    }
}

impl Second {
    pub fn zeros(spec: &ParameterSpec, value: &Tensor) -> Self {
        let shape = value.size();
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, value.device()));
        match shape.as_slice() {
            [rows, columns] if spec.shape.len() == 2 => {
                Self::Matrix { rows: zeros(&[*rows]), columns: zeros(&[*columns]) }
            }
            [outer @ .., above, last] => {
                Self::Stack { rows: zeros(&[outer, &[*above]].concat()), columns: zeros(&[outer, &[*last]].concat()) }
            }
            _ => Self::Whole(zeros(&shape)),
        }
    }

    /// A rank's part of the sums over rows before it knows a gradient: zeros, for a matrix.
    pub fn column_sums(&self) -> Option<Tensor> {
        match self {
            Self::Matrix { columns, .. } => Some(columns.zeros_like().to_kind(Kind::Double)),
            _ => None,
        }
    }

    /// Takes `weight` of the gradient's squares into what stands on this rank alone; gives a matrix' sums over rows.
    pub fn take_rows(&mut self, gradient: &Tensor, scale: f64, added: f64, weight: f64) -> Result<Option<Tensor>> {
        let square = || (gradient * scale).square() + added;
        let mean = |x: &Tensor, dim: i64| x.mean_dim([dim].as_slice(), false, Kind::Float);
        match self {
            Self::Matrix { rows, columns } => {
                let (of_rows, of_columns) = squares(gradient, scale, added)?;
                take(rows, &(of_rows / columns.numel() as f64), weight);
                return Ok(Some(of_columns));
            }
            Self::Stack { rows, columns } => {
                let square = square();
                take(rows, &mean(&square, -1), weight);
                take(columns, &mean(&square, -2), weight);
            }
            Self::Whole(moment) => take(moment, &square(), weight),
        }
        Ok(None)
    }

    /// Sum of a matrix' row moments on this rank.
    pub fn sum_of_rows(&self) -> f64 {
        match self {
            Self::Matrix { rows, .. } => rows.sum(Kind::Double).double_value(&[]),
            _ => 0.0,
        }
    }

    /// Takes in the sums over all `rows` of the parameter.
    pub fn take_columns(&mut self, sums: &Tensor, rows: i64, weight: f64) {
        if let Self::Matrix { columns, .. } = self {
            take(columns, &(sums / rows as f64), weight);
        }
    }

    /// What this step makes of `gradient`; `mean_row` is the mean of a matrix' row moments over all ranks.
    pub fn update(&self, gradient: &Tensor, scale: f64, mean_row: f64, options: &AdafactorOptions) -> Update {
        let least = options.least_root();
        let bounded = |moment: Tensor| moment.clamp_min(least * least).rsqrt() * gradient * scale;
        match self {
            Self::Matrix { rows, columns } => {
                let rows = (rows / mean_row.max(least)).rsqrt();
                Update::Factored(Factors::new(&rows, &columns.rsqrt(), 1.0 / least, scale))
            }
            Self::Stack { rows, columns } => {
                let mean = rows.mean_dim([-1].as_slice(), true, Kind::Float);
                let rows = (rows / mean.clamp_min(least)).rsqrt().unsqueeze(-1);
                let factor = (rows * columns.rsqrt().unsqueeze(-2)).clamp_max(1.0 / least);
                Update::Ready(factor * gradient * scale)
            }
            Self::Whole(moment) => Update::Ready(bounded(moment.shallow_clone())),
        }
    }

    pub fn state(&self, rule: Rule) -> Vec<StateTensor> {
        let [row, column, whole] = names(rule);
        let state = |name: &str, tensor: Tensor, part| StateTensor { name: name.to_owned(), tensor, part };
        let (rows, columns, part) = match self {
            Self::Whole(moment) => return vec![state(whole, moment.shallow_clone(), Part::Rows)],
            Self::Matrix { rows, columns } => (rows, columns, Part::Whole),
            Self::Stack { rows, columns } => (rows, columns, Part::Rows),
        };
        // Shapes as each rule's own files have them.
        let (rows, columns) = match rule {
            Rule::Torch => (rows.unsqueeze(-1), columns.unsqueeze(-2)),
            Rule::Fairseq => (rows.shallow_clone(), columns.shallow_clone()),
        };
        vec![state(row, rows, Part::Rows), state(column, columns, part)]
    }

    pub fn load(mut state: BTreeMap<String, Tensor>, rule: Rule) -> Result<Self> {
        let [row, column, whole] = names(rule);
        let found = (state.remove(row), state.remove(column), state.remove(whole));
        if let Some(name) = state.keys().next() {
            return Err(Error::new(format!("Adafactor has no state called `{name}` under this rule")));
        }
        match found {
            (Some(rows), Some(columns), None) => {
                let (rows, columns) = match rule {
                    Rule::Torch => (rows.squeeze_dim(-1), columns.squeeze_dim(-2)),
                    Rule::Fairseq => (rows, columns),
                };
                let matrix = rows.dim() == 1;
                Ok(if matrix { Self::Matrix { rows, columns } } else { Self::Stack { rows, columns } })
            }
            (None, None, Some(moment)) => Ok(Self::Whole(moment)),
            _ => Err(Error::new(format!(
                "Adafactor's state is incomplete: it needs `{row}` and `{column}`, or `{whole}` alone"
            ))),
        }
    }
}

/// `moment += weight * (new - moment)`, in place.
fn take(moment: &mut Tensor, new: &Tensor, weight: f64) {
    let _ = moment.lerp_(&new.to_kind(Kind::Float), weight);
}

impl Update {
    /// Sum of squares of this rank's part of the update.
    pub fn squared_sum(&self, gradient: &Tensor) -> Result<f64> {
        match self {
            Self::Factored(factors) => factors.squared_sum(gradient),
            Self::Ready(update) => squared_sum(update),
        }
    }

    /// Makes `value` become `value * decay - rate * update`.
    pub fn apply(&self, value: &mut Tensor, gradient: &Tensor, decay: f64, rate: f64) -> Result<()> {
        match self {
            Self::Factored(factors) => factors.apply(value, gradient, decay, rate)?,
            Self::Ready(update) => {
                *value *= decay;
                *value -= update * rate;
            }
        }
        Ok(())
    }
}
