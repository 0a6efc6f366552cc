//! How surprised a model is by a text: the negative log-likelihood of each of its tokens, given those before.
//!
//! Documents are independent and each token is predicted once (see [`windows`](crate::windows)). Sums are taken in the
//! order of the text, in double precision; on the CPU no bit depends on how many windows are computed together.

use psann_core::{Error, Event, Observer, Result};

use crate::network::Network;
use crate::scoring::{self, Request, Sharing};
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
    let windows_of = |document: &Vec<u32>| windows::rolling(document.len(), rolling.context, rolling.stride);
    let mut windows: Vec<(usize, Window)> = documents
        .iter()
        .enumerate()
        .flat_map(|(index, document)| windows_of(document).into_iter().map(move |window| (index, window)))
        .collect();
    let total = windows.iter().map(|(_, window)| window.scored as u64).sum();
    // Longest first: what does not fit into memory fails at once.
    windows.sort_by_key(|(_, window)| std::cmp::Reverse(window.length));
    // One slot a window, so that the order of the sums is the order of the text.
    let mut parts: Vec<Vec<(usize, f64)>> = vec![Vec::new(); documents.len()];
    let task = "scoring held-out text";
    let mut done = 0;
    for group in windows.chunks(rolling.batch.max(1)) {
        if observer.stop_requested() {
            return Err(Error::interrupted("stopped while scoring; nothing of it is kept"));
        }
        let requests: Vec<[Request; 1]> =
            group.iter().map(|(index, window)| [request(&documents[*index], *window)]).collect();
        let requests: Vec<&[Request]> = requests.iter().map(<[Request; 1]>::as_slice).collect();
        for ((index, window), scores) in group.iter().zip(scoring::score(network, &requests, Sharing::Alone)?) {
            parts[*index].push((window.start, -scores.iter().map(|score| score.log_likelihood).sum::<f64>()));
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
    observer.event(Event::Done { task: task.into() });
    for of_document in &mut parts {
        of_document.sort_unstable_by_key(|(start, _)| *start);
    }
    Ok(parts.iter().map(|of_document| of_document.iter().map(|(_, nats)| nats).sum()).collect())
}

/// What a window reads, and what of it is scored.
fn request(document: &[u32], window: Window) -> Request {
    let end = window.start + window.length + 1;
    let (context, continuation) = document[window.start..end].split_at(window.length + 1 - window.scored);
    Request { context: context.to_vec(), continuation: continuation.to_vec() }
}

#[cfg(test)]
mod tests {
    use psann_core::observer::Silent;
    use tch::{IndexOp, Kind};

    use super::*;
    use crate::session::Session;
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
                let logits = Session::new(network).feed_all(&[document]).unwrap();
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
            // The toy's products are libtorch's, whose last bits do depend on it.
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
                let logits = Session::new(network).feed(&[context]).unwrap();
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
