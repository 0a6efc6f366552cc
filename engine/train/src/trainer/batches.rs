//! Rows of token ids to the micro-batches that the executor takes.

use psann_core::tokens::TokenBatch;
use psann_core::{Error, Result};
use psann_torch::loss::IGNORED;
use tch::{Device, Tensor};

use crate::executor::MicroBatch;

/// Cuts `batch` into `parts` on `device`, whose sizes differ by one row at most; with fewer rows than parts some are empty.
///
/// Row `[t0 … tn]` is read as ids `[t0 … tn−1]` with labels `[t1 … tn]`. Where documents are kept apart, the first token
/// of a document is not predicted: it would be a guess from nothing.
pub fn micro_batches(batch: &TokenBatch, parts: usize, device: Device) -> Result<Vec<MicroBatch>> {
    let (rows, columns) = (batch.rows, batch.columns);
    let documents_fit = batch.documents.as_ref().is_none_or(|documents| documents.len() == rows * columns);
    if columns < 2 || batch.tokens.len() != rows * columns || !documents_fit {
        return Err(Error::new(format!(
            "a batch of {rows} rows and {columns} columns with {} tokens cannot be trained on",
            batch.tokens.len()
        )));
    }
    let parts = parts.max(1);
    // Larger parts first; every rank has as many parts as the others, whatever its number of rows.
    let first = |number: usize| rows / parts * number + number.min(rows % parts);
    (0..parts).map(|number| part(batch, first(number), first(number + 1) - first(number), device)).collect()
}

fn part(batch: &TokenBatch, first: usize, rows: usize, device: Device) -> Result<MicroBatch> {
    let columns = batch.columns;
    let range = first * columns..(first + rows) * columns;
    let time = columns - 1;
    let (mut ids, mut labels) = (Vec::with_capacity(rows * time), Vec::with_capacity(rows * time));
    for row in batch.tokens[range.clone()].chunks_exact(columns) {
        ids.extend(row[..time].iter().map(|id| i64::from(*id)));
        labels.extend(row[1..].iter().map(|id| i64::from(*id)));
    }
    let mut numbers = None;
    if let Some(documents) = &batch.documents {
        let mut of_ids = Vec::with_capacity(rows * time);
        for (row, labels) in documents[range].chunks_exact(columns).zip(labels.chunks_exact_mut(time)) {
            of_ids.extend(row[..time].iter().map(|number| i64::from(*number)));
            for (label, pair) in labels.iter_mut().zip(row.windows(2)) {
                if pair[0] != pair[1] {
                    *label = IGNORED;
                }
            }
        }
        numbers = Some(of_ids);
    }
    let tensor = |values: &[i64]| -> Result<Tensor> {
        let made = Tensor::f_from_slice(values).and_then(|flat| flat.f_view([rows as i64, time as i64]));
        made.and_then(|made| made.f_to_device(device)).map_err(|e| Error::new("cannot make a batch").because(e))
    };
    let documents = numbers.map(|numbers| tensor(&numbers)).transpose()?;
    Ok(MicroBatch { ids: tensor(&ids)?, labels: tensor(&labels)?, documents })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor.reshape([-1])).unwrap()
    }

    #[test]
    fn rows_become_inputs_and_shifted_labels_in_parts() {
        let batch = TokenBatch { rows: 3, columns: 3, tokens: (0..9).collect(), documents: None };
        let parts = micro_batches(&batch, 2, Device::Cpu).unwrap();
        assert_eq!(parts.iter().map(|part| part.ids.size()).collect::<Vec<_>>(), [[2, 2], [1, 2]]);
        assert_eq!(values(&parts[0].ids), [0, 1, 3, 4]);
        assert_eq!(values(&parts[0].labels), [1, 2, 4, 5]);
        assert_eq!(values(&parts[1].labels), [7, 8]);
        let parts = micro_batches(&batch, 4, Device::Cpu).unwrap();
        assert_eq!(parts.iter().map(|part| part.ids.size()[0]).collect::<Vec<_>>(), [1, 1, 1, 0]);
    }

    #[test]
    fn the_first_token_of_a_document_is_not_predicted_when_documents_are_apart() {
        let documents = Some(vec![0, 0, 1, 1]);
        let batch = TokenBatch { rows: 1, columns: 4, tokens: vec![5, 6, 7, 8], documents };
        let parts = micro_batches(&batch, 1, Device::Cpu).unwrap();
        assert_eq!(values(&parts[0].labels), [6, IGNORED, 8]);
        assert_eq!(values(parts[0].documents.as_ref().unwrap()), [0, 0, 1]);
    }

    #[test]
    fn a_batch_that_is_not_what_it_says_is_refused() {
        let batch = TokenBatch { rows: 2, columns: 3, tokens: vec![1; 5], documents: None };
        assert!(micro_batches(&batch, 1, Device::Cpu).is_err());
    }
}
