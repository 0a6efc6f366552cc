//! The C interface of `csrc/inference.cpp`, made safe by what [`super`] checks.

use std::ffi::c_int;
use std::ptr;

use psann_core::Result;
use tch::Tensor;

use crate::ffi::{Raw, check, made};

unsafe extern "C" {
    fn psann_product(x: *const Raw, weight: *const Raw, bias: *const Raw, result: *mut *mut Raw) -> c_int;
    fn psann_attention(
        q: *const Raw,
        layout: *const i64,
        keys: *const *const Raw,
        values: *const *const Raw,
        runs: i64,
        scale: f64,
        slopes: *const Raw,
        result: *mut *mut Raw,
    ) -> c_int;
    fn psann_log_likelihoods(
        hidden: *const Raw,
        weight: *const Raw,
        pair_rows: *const i64,
        targets: *const i64,
        pairs: i64,
        log_likelihoods: *mut f64,
        greedy: *mut i64,
    ) -> c_int;
    fn psann_normalisers(logits: *const Raw, log_sums: *mut f64, greedy: *mut i64) -> c_int;
    fn psann_swiglu(gate: *const Raw, up: *const Raw, result: *mut *mut Raw) -> c_int;
    fn psann_gelu(x: *const Raw, result: *mut *mut Raw) -> c_int;
}

fn optional(tensor: Option<&Tensor>) -> *const Raw {
    tensor.map_or(ptr::null(), Tensor::as_ptr)
}

/// See [`super::linear`].
pub fn product(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: live tensors borrowed for the call; a missing bias is null, as the shim allows.
    let status = unsafe { psann_product(x.as_ptr(), weight.as_ptr(), optional(bias), &raw mut result) };
    made(status, result)
}

/// See [`super::attention`]; four numbers of `layout`, two keys and two values a run, all checked by the caller.
pub fn attention(
    q: &Tensor,
    layout: &[i64],
    keys: &[&Tensor],
    values: &[&Tensor],
    scale: f64,
    slopes: Option<&Tensor>,
) -> Result<Tensor> {
    let pointers = |tensors: &[&Tensor]| -> Vec<*const Raw> { tensors.iter().map(|tensor| tensor.as_ptr()).collect() };
    let (keys, values) = (pointers(keys), pointers(values));
    let mut result = ptr::null_mut();
    // SAFETY: live tensors borrowed for the call, and as many of them as `runs` says; the caller has checked that every
    // run's rows exist in them.
    let status = unsafe {
        psann_attention(
            q.as_ptr(),
            layout.as_ptr(),
            keys.as_ptr(),
            values.as_ptr(),
            (layout.len() / 4) as i64,
            scale,
            optional(slopes),
            &raw mut result,
        )
    };
    made(status, result)
}

/// See [`super::log_likelihoods`]; rows ascending and within `hidden`, targets within `weight`, checked by the caller.
pub fn log_likelihoods(
    hidden: &Tensor,
    weight: &Tensor,
    rows: &[i64],
    targets: &[i64],
) -> Result<(Vec<f64>, Vec<i64>)> {
    let (mut logs, mut greedy) = (vec![0.0; rows.len()], vec![0; hidden.size()[0] as usize]);
    // SAFETY: live tensors borrowed for the call; one result a pair and one class a row, as the shim writes.
    let status = unsafe {
        psann_log_likelihoods(
            hidden.as_ptr(),
            weight.as_ptr(),
            rows.as_ptr(),
            targets.as_ptr(),
            rows.len() as i64,
            logs.as_mut_ptr(),
            greedy.as_mut_ptr(),
        )
    };
    check(status)?;
    Ok((logs, greedy))
}

/// See [`super::normalisers`]; logits have two dimensions, checked by the caller.
pub fn normalisers(logits: &Tensor) -> Result<(Vec<f64>, Vec<i64>)> {
    let rows = logits.size()[0] as usize;
    let (mut log_sums, mut greedy) = (vec![0.0; rows], vec![0; rows]);
    // SAFETY: a live tensor borrowed for the call; one sum and one class a row, as the shim writes.
    let status = unsafe { psann_normalisers(logits.as_ptr(), log_sums.as_mut_ptr(), greedy.as_mut_ptr()) };
    check(status)?;
    Ok((log_sums, greedy))
}

/// See [`super::swiglu`].
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: live tensors of one shape borrowed for the call.
    let status = unsafe { psann_swiglu(gate.as_ptr(), up.as_ptr(), &raw mut result) };
    made(status, result)
}

/// See [`super::gelu`].
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let mut result = ptr::null_mut();
    // SAFETY: a live tensor borrowed for the call.
    let status = unsafe { psann_gelu(x.as_ptr(), &raw mut result) };
    made(status, result)
}
