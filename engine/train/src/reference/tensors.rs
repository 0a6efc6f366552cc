//! Tensors of a file, read one at a time: each is a view of a storage, and only the bytes that it spans are brought in.

use psann_core::{Error, Result};
use tch::{Device, Kind, Tensor};

use super::archive::Archive;
use super::pickle::{TensorRef, element_size};

/// Reads the values of `tensor` as fp32 on the CPU, row by row.
///
/// # Errors
/// When it is not of floats, its view leaves its storage, or the file is damaged there. Messages name the file and
/// `name`.
pub fn read(archive: &mut Archive, tensor: &TensorRef, name: &str) -> Result<Tensor> {
    let place = format!("`{}`: `{name}`", archive.path().display());
    read_view(archive, tensor).map_err(|e| e.within(place))
}

fn read_view(archive: &mut Archive, tensor: &TensorRef) -> Result<Tensor> {
    let TensorRef { storage, offset, shape, stride } = tensor;
    if !matches!(storage.kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
        return Err(Error::new(format!("it holds {:?}, expected floating-point numbers", storage.kind)));
    }
    let elements = elements(shape).ok_or_else(sizes)?;
    // Views that repeat elements would let a small file fill all memory; no model is saved as one.
    if elements > storage.elements {
        return Err(Error::new(format!(
            "its shape {shape:?} needs {elements} numbers, but its storage has {}",
            storage.elements
        )));
    }
    let size = element_size(storage.kind);
    let whole = storage.elements.checked_mul(size).ok_or_else(sizes)?;
    let span = span(shape, stride).ok_or_else(sizes)?;
    if offset.checked_add(span).is_none_or(|end| end > storage.elements) {
        return Err(Error::new(format!(
            "its view of {span} numbers from {offset} leaves its storage of {}",
            storage.elements
        )));
    }
    let mut bytes = Vec::new();
    archive.read(&storage.key, whole, offset * size, span * size, &mut bytes)?;
    let signed = |sizes: &[u64]| sizes.iter().map(|size| *size as i64).collect::<Vec<_>>();
    let fail = |e: tch::TchError| Error::new("it cannot be held in memory").because(e);
    let shape = signed(shape);
    let values = if span == elements && is_contiguous(&shape, &signed(stride)) {
        Tensor::f_from_data_size(&bytes, &shape, storage.kind).map_err(fail)?
    } else {
        let flat = Tensor::f_from_data_size(&bytes, &[span as i64], storage.kind).map_err(fail)?;
        flat.f_as_strided(&shape[..], signed(stride), 0).and_then(|view| view.f_contiguous()).map_err(fail)?
    };
    drop(bytes);
    values.f_to_device(Device::Cpu).and_then(|values| values.f_to_kind(Kind::Float)).map_err(fail)
}

fn sizes() -> Error {
    Error::new("its sizes cannot be right")
}

/// Number of elements of a shape.
pub fn elements(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size))
}

/// Elements from the first of a view to its last.
fn span(shape: &[u64], stride: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let steps = shape.iter().zip(stride).map(|(size, stride)| (size - 1).checked_mul(*stride));
    steps.into_iter().try_fold(1_u64, |span, step| span.checked_add(step?))
}

fn is_contiguous(shape: &[i64], stride: &[i64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(stride).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == expected;
        expected *= size;
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reaches_to_the_last_element_of_a_view() {
        assert_eq!(span(&[2, 3], &[3, 1]), Some(6));
        assert_eq!(span(&[2, 3], &[1, 4]), Some(10));
        assert_eq!(span(&[5, 0], &[7, 1]), Some(0));
        assert_eq!(span(&[], &[]), Some(1));
        assert_eq!(span(&[u64::MAX, 2], &[u64::MAX, 1]), None);
    }

    #[test]
    fn sizes_of_one_do_not_break_a_row() {
        assert!(is_contiguous(&[4, 1, 3], &[3, 99, 1]));
        assert!(!is_contiguous(&[4, 3], &[1, 4]));
        assert!(!is_contiguous(&[4, 3], &[6, 1]));
    }
}
