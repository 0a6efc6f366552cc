//! Cross-entropy over the vocabulary straight from hidden states, a few hundred rows at a time: the full logits, by far
//! the largest tensor of a small model, never exist. Loss, its gradients and the product with the vocabulary matrix are
//! one walk over the rows.

use psann_core::{Error, Result};
use tch::{Kind, Tensor};

use crate::ffi;

/// Label of positions that are not predicted.
pub const IGNORED: i64 = -100;

/// What to compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossOptions {
    /// Rows whose logits exist at once; by default about 16 MiB of logits.
    pub chunk: Option<i64>,
    /// Share of the target probability that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
    /// Gradients are those of `scale` times the sum of losses: 1 / targets gives the mean's.
    pub scale: f64,
    /// Whether to return each row's loss.
    pub per_token: bool,
    /// Whether to compute gradients.
    pub gradients: bool,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self { chunk: None, label_smoothing: 0.0, scale: 1.0, per_token: false, gradients: true }
    }
}

/// What came out.
#[derive(Debug)]
pub struct Loss {
    /// Sum of the losses in nats, with smoothing if any, not scaled.
    pub sum: f64,
    /// Rows with a label.
    pub targets: i64,
    /// `[rows, width]`, in the dtype of the hidden states.
    pub hidden_gradient: Option<Tensor>,
    /// `[vocabulary, width]`; `None` when it was added to a buffer.
    pub weight_gradient: Option<Tensor>,
    /// `[rows]` fp32, without smoothing, 0 where ignored.
    pub per_token: Option<Tensor>,
}

/// Loss of hidden `[rows, width]` against the vocabulary matrix `[vocabulary, width]` and labels int64 `[rows]`
/// ([`IGNORED`] where nothing is predicted). A weight gradient is added into `buffer` (`[vocabulary, width]`, fp32) if given.
pub fn linear_cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    labels: &Tensor,
    buffer: Option<&Tensor>,
    options: &LossOptions,
) -> Result<Loss> {
    let (rows, width) = match (hidden.size().as_slice(), weight.size().as_slice()) {
        ([rows, width], [_, other]) if width == other => (*rows, *width),
        _ => {
            return Err(Error::new(format!(
                "hidden states {:?} [rows, width] do not fit a vocabulary matrix {:?} [vocabulary, width]",
                hidden.size(),
                weight.size()
            )));
        }
    };
    let classes = weight.size()[0];
    if labels.size() != [rows] || labels.kind() != Kind::Int64 {
        return Err(Error::new(format!("labels must be int64 [{rows}], not {:?} {:?}", labels.kind(), labels.size())));
    }
    if hidden.kind() != weight.kind() || hidden.device() != weight.device() || labels.device() != hidden.device() {
        return Err(Error::new("hidden states, vocabulary matrix and labels must share device and dtype"));
    }
    if let Some(buffer) = buffer
        && (buffer.size() != [classes, width] || buffer.kind() != Kind::Float || buffer.device() != weight.device())
    {
        return Err(Error::new(format!(
            "the gradient buffer must be fp32 [{classes}, {width}], not {:?}",
            buffer.size()
        )));
    }
    if rows > 0 {
        // An index beyond the matrix would read foreign memory in the kernel.
        let (least, most) = (labels.min().int64_value(&[]), labels.max().int64_value(&[]));
        if most >= classes || (least < 0 && least != IGNORED) {
            let wrong = if most >= classes { most } else { least };
            return Err(Error::new(format!("label {wrong} is outside of the vocabulary of {classes}"))
                .hint("the tokenizer has more tokens than the model; build the model with the tokenizer's `vocab`"));
        }
    }
    let chunk = options.chunk.unwrap_or_else(|| default_chunk(classes));
    let hidden = hidden.contiguous();
    ffi::linear_cross_entropy(&hidden, weight, &labels.contiguous(), buffer, chunk.clamp(1, rows.max(1)), options)
}

/// Rows whose logits over `classes` are in memory at once: enough for efficient products, few enough to stay in the
/// cache's reach.
pub fn default_chunk(classes: i64) -> i64 {
    const BYTES: i64 = 16 << 20;
    let rows = BYTES / (4 * classes.max(1));
    (rows / 64 * 64).clamp(64, 2048)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Reduction, Tensor};

    use super::*;
    use crate::autograd::gradients;

    struct Case {
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
    }

    fn case(rows: i64, width: i64, classes: i64) -> Case {
        tch::manual_seed(rows * 7 + classes);
        let labels = Tensor::randint(classes, [rows], (Kind::Int64, Device::Cpu));
        let mut first = labels.narrow(0, 0, rows / 3);
        let _ = first.fill_(IGNORED);
        Case {
            hidden: Tensor::randn([rows, width], (Kind::Float, Device::Cpu)),
            weight: Tensor::randn([classes, width], (Kind::Float, Device::Cpu)),
            labels,
        }
    }

    fn close(found: &Tensor, expected: &Tensor, tolerance: f64) -> bool {
        let most = f64::try_from(expected.abs().max()).unwrap().max(1e-3);
        f64::try_from((found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max()).unwrap()
            <= tolerance * most
    }

    #[test]
    fn chunks_give_the_loss_and_gradients_of_full_logits() {
        for (rows, classes, smoothing) in [(10, 37, 0.0), (13, 64, 0.1), (1, 5, 0.0)] {
            let Case { hidden, weight, labels } = case(rows, 6, classes);
            let wide = |t: &Tensor| t.to_kind(Kind::Double).set_requires_grad(true);
            let (h, w) = (wide(&hidden), wide(&weight));
            let expected =
                h.matmul(&w.tr()).cross_entropy_loss(&labels, None::<Tensor>, Reduction::Sum, IGNORED, smoothing);
            let sum = f64::try_from(&expected).unwrap();
            let expected_gradients = gradients(&expected, &(expected.ones_like() * 0.25), &[&h, &w]).unwrap();
            for chunk in [1, 4, 100] {
                let options = LossOptions {
                    chunk: Some(chunk),
                    label_smoothing: smoothing,
                    scale: 0.25,
                    per_token: true,
                    gradients: true,
                };
                let loss = linear_cross_entropy(&hidden, &weight, &labels, None, &options).unwrap();
                assert!((loss.sum - sum).abs() < 1e-4 * sum.abs().max(1.0), "{} {sum}", loss.sum);
                assert_eq!(loss.targets, rows - rows / 3);
                assert!(close(loss.hidden_gradient.as_ref().unwrap(), expected_gradients[0].as_ref().unwrap(), 1e-5));
                assert!(close(loss.weight_gradient.as_ref().unwrap(), expected_gradients[1].as_ref().unwrap(), 1e-5));
                let plain = hidden.matmul(&weight.tr()).cross_entropy_loss(
                    &labels,
                    None::<Tensor>,
                    Reduction::None,
                    IGNORED,
                    0.0,
                );
                assert!(close(loss.per_token.as_ref().unwrap(), &plain, 1e-5));
            }
        }
    }

    #[test]
    fn a_buffer_is_added_to_and_no_gradients_means_none() {
        let Case { hidden, weight, labels } = case(9, 4, 11);
        let plain = linear_cross_entropy(&hidden, &weight, &labels, None, &LossOptions::default()).unwrap();
        let buffer = weight.ones_like();
        let loss = linear_cross_entropy(&hidden, &weight, &labels, Some(&buffer), &LossOptions::default()).unwrap();
        assert!(loss.weight_gradient.is_none());
        assert!(close(&(buffer - 1.0), plain.weight_gradient.as_ref().unwrap(), 1e-5));
        let options = LossOptions { gradients: false, ..LossOptions::default() };
        let evaluated = linear_cross_entropy(&hidden, &weight, &labels, None, &options).unwrap();
        assert!(evaluated.hidden_gradient.is_none() && evaluated.weight_gradient.is_none());
        assert!((evaluated.sum - plain.sum).abs() < 1e-5);
    }

    #[test]
    fn half_precision_agrees_to_its_own_precision() {
        let Case { hidden, weight, labels } = case(12, 8, 17);
        let wide = linear_cross_entropy(&hidden, &weight, &labels, None, &LossOptions::default()).unwrap();
        let half = |t: &Tensor| t.to_kind(Kind::BFloat16);
        let buffer = weight.zeros_like();
        let narrow =
            linear_cross_entropy(&half(&hidden), &half(&weight), &labels, Some(&buffer), &LossOptions::default())
                .unwrap();
        assert!((narrow.sum - wide.sum).abs() < 0.02 * wide.sum);
        assert!(close(&buffer, wide.weight_gradient.as_ref().unwrap(), 0.03));
    }

    #[test]
    fn a_loss_that_is_no_number_is_seen() {
        let Case { hidden, weight, labels } = case(6, 4, 9);
        let poisoned = hidden * f64::NAN;
        assert!(linear_cross_entropy(&poisoned, &weight, &labels, None, &LossOptions::default()).unwrap().sum.is_nan());
    }

    #[test]
    fn labels_outside_of_the_vocabulary_are_refused() {
        let Case { hidden, weight, .. } = case(2, 4, 9);
        for wrong in [9_i64, -1] {
            let labels = Tensor::from_slice(&[0, wrong]);
            let error = linear_cross_entropy(&hidden, &weight, &labels, None, &LossOptions::default()).unwrap_err();
            assert!(error.to_string().contains(&format!("label {wrong}")), "{error}");
        }
    }
}
