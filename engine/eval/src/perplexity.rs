//! How surprised a model is by a text: the negative log-likelihood of each of its tokens, given those before.
//!
//! Documents are independent and each token is predicted once (see [`windows`](crate::windows)). Windows of equal length
//! are computed together; they are never padded, so a window's numbers do not depend on its neighbours (beyond the
//! order in which a matrix product adds up). Sums are taken in document order, in double precision.

use std::collections::BTreeMap;

use psann_core::{Error, Event, Observer, Result};
use psann_torch::loss::{self, IGNORED, LossOptions};
use tch::Tensor;

use crate::network::Network;
use crate::windows::{self, Window};

/// How documents are cut and how many windows are computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rolling {
    /// Most tokens a window reads.
    pub context: usize,
    /// Most tokens a window newly predicts, at most `context`.
    pub stride: usize,
    /// Windows in one forward.
    pub batch: usize,
}

/// The negative log-likelihood of each document in nats, summed over its tokens but the first, which is only
/// context: put a prefix token there to have all the text predicted.
///
/// # Errors
/// When a token is outside of the model's vocabulary, a loss is not finite, or the user asked to stop.
pub fn document_nats(
    network: Network<'_>,
    documents: &[Vec<u32>],
    rolling: Rolling,
    observer: &dyn Observer,
) -> Result<Vec<f64>> {
    let mut of_length: BTreeMap<usize, Vec<(usize, Window)>> = BTreeMap::new();
    let mut total = 0;
    for (index, document) in documents.iter().enumerate() {
        for window in windows::rolling(document.len(), rolling.context, rolling.stride) {
            total += window.scored as u64;
            of_length.entry(window.length).or_default().push((index, window));
        }
    }
    // One slot a window, so that the order of the sums is the order of the text.
    let mut parts: Vec<Vec<(usize, f64)>> = vec![Vec::new(); documents.len()];
    let task = "scoring held-out text";
    let mut done = 0;
    // Longest first: what does not fit into memory fails at once.
    for windows in of_length.into_values().rev() {
        for group in windows.chunks(rolling.batch.max(1)) {
            if observer.stop_requested() {
                return Err(Error::interrupted("stopped while scoring; nothing of it is kept"));
            }
            let nats = windows_nats(network, documents, group)?;
            for ((index, window), nats) in group.iter().zip(nats) {
                parts[*index].push((window.start, nats));
                done += window.scored as u64;
            }
            observer.event(Event::Progress {
                task: task.into(),
                done,
                total: Some(total),
                unit: "tokens",
                detail: String::new(),
            });
        }
    }
    observer.event(Event::Done { task: task.into() });
    for of_document in &mut parts {
        of_document.sort_unstable_by_key(|(start, _)| *start);
    }
    Ok(parts.iter().map(|of_document| of_document.iter().map(|(_, nats)| nats).sum()).collect())
}

/// Nats of the scored predictions of each window; all windows have one length.
fn windows_nats(network: Network<'_>, documents: &[Vec<u32>], group: &[(usize, Window)]) -> Result<Vec<f64>> {
    let inputs: Vec<&[u32]> =
        group.iter().map(|(index, window)| &documents[*index][window.start..window.start + window.length]).collect();
    let mut labels: Vec<i64> = Vec::with_capacity(inputs.iter().map(|input| input.len()).sum());
    for (index, window) in group {
        labels.resize(labels.len() + window.length - window.scored, IGNORED);
        let end = window.start + window.length;
        labels.extend(documents[*index][end + 1 - window.scored..=end].iter().map(|id| i64::from(*id)));
    }
    let length = group.first().map_or(0, |(_, window)| window.length);
    let (hidden, weight) = network.project(&network.ids(&inputs)?)?;
    let width = hidden.size()[2];
    let options = LossOptions { per_token: true, gradients: false, ..LossOptions::default() };
    let labels = Tensor::from_slice(&labels).to_device(hidden.device());
    let loss =
        tch::no_grad(|| loss::linear_cross_entropy(&hidden.reshape([-1, width]), weight, &labels, None, &options))?;
    let per_token = loss.per_token.ok_or_else(|| Error::new("the loss gave no value per token"))?;
    let per_token =
        Vec::<f32>::try_from(per_token.view([-1])).map_err(|e| Error::new("cannot read losses").because(e))?;
    let nats: Vec<f64> =
        per_token.chunks(length.max(1)).map(|row| row.iter().map(|nats| f64::from(*nats)).sum()).collect();
    if nats.iter().any(|nats| !nats.is_finite()) {
        return Err(Error::new("the loss of held-out text is not finite")
            .hint("the model's weights are damaged, or its training diverged; see the losses in metrics.jsonl"));
    }
    Ok(nats)
}

#[cfg(test)]
mod tests {
    use psann_core::observer::Silent;
    use tch::{IndexOp, Kind};

    use super::*;
    use crate::network::Session;
    use crate::testing::Toy;

    fn documents() -> Vec<Vec<u32>> {
        let document = |length: u32, step: u32| (0..length).map(|i| (i * step + i / 3) % 11).collect();
        vec![document(17, 3), document(2, 1), document(9, 5), document(1, 1), vec![], document(9, 7), document(30, 2)]
    }

    fn nats(rolling: Rolling) -> Vec<f64> {
        document_nats(Toy::new(11).network(), &documents(), rolling, &Silent).unwrap()
    }

    fn near(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0))
    }

    #[test]
    fn a_window_over_everything_gives_the_loss_of_full_logits() {
        let toy = Toy::new(11);
        let network = toy.network();
        let expected: Vec<f64> = documents()
            .iter()
            .map(|document| {
                if document.len() < 2 {
                    return 0.0;
                }
                let logits = Session::new(network).feed_all(&network.ids(&[document]).unwrap()).unwrap();
                let logs = logits.squeeze_dim(0).log_softmax(-1, Kind::Double);
                (1..document.len())
                    .map(|t| -f64::try_from(logs.i((t as i64 - 1, i64::from(document[t])))).unwrap())
                    .sum()
            })
            .collect();
        assert!(near(&nats(Rolling { context: 64, stride: 64, batch: 3 }), &expected));
        assert!(expected[0] > 5.0);
    }

    #[test]
    fn results_do_not_depend_on_the_batch() {
        let one = nats(Rolling { context: 6, stride: 6, batch: 1 });
        for batch in [2, 3, 100] {
            assert!(near(&nats(Rolling { context: 6, stride: 6, batch }), &one));
        }
    }

    #[test]
    fn context_matters_and_a_stride_of_one_gives_every_token_the_most_of_it() {
        let toy = Toy::new(11);
        let network = toy.network();
        let document = &documents()[0];
        let expected: f64 = (1..document.len())
            .map(|t| {
                let context = &document[t.saturating_sub(4)..t];
                let logits = Session::new(network).feed(&network.ids(&[context]).unwrap()).unwrap();
                -f64::try_from(logits.log_softmax(-1, Kind::Double).i((0, i64::from(document[t])))).unwrap()
            })
            .sum();
        let found = nats(Rolling { context: 4, stride: 1, batch: 5 })[0];
        assert!((found - expected).abs() < 1e-5 * expected, "{found} {expected}");
        let coarse = nats(Rolling { context: 4, stride: 4, batch: 5 })[0];
        assert!((coarse - expected).abs() > 1e-3, "a cut context must show");
    }

    #[test]
    fn a_token_outside_of_the_vocabulary_is_an_error_wherever_it_stands() {
        let rolling = Rolling { context: 8, stride: 8, batch: 2 };
        for document in [vec![1, 11, 2], vec![1, 2, 11]] {
            assert!(document_nats(Toy::new(11).network(), &[document], rolling, &Silent).is_err());
        }
    }
}
