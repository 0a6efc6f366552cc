//! The C interface of `csrc/optimizers.cpp`, made safe.

use std::ffi::c_int;

use psann_core::Result;
use tch::Tensor;

use super::AdamW;
use super::adamw8bit::{Blocks, Decay};
use super::codes::{CodeMap, SIGNED, UNSIGNED};
use super::factored::Factors;
use crate::ffi::{Raw, check};

/// `CodeMap` of `optimizer_kernels.h`.
#[repr(C)]
struct CodeMapParts {
    values: *const f64,
    bins: *const u32,
    midpoints: *const f64,
}

impl CodeMapParts {
    fn of(map: &'static CodeMap) -> Self {
        Self { values: map.wide().as_ptr(), bins: map.bins().as_ptr(), midpoints: map.midpoints().as_ptr() }
    }
}

unsafe extern "C" {
    fn psann_adamw(
        value: *mut Raw,
        gradient: *const Raw,
        first: *mut Raw,
        second: *mut Raw,
        settings: *const AdamW,
    ) -> c_int;
    fn psann_aten_adamw(
        value: *mut Raw,
        gradient: *mut Raw,
        first: *mut Raw,
        second: *mut Raw,
        settings: *const AdamW,
    ) -> c_int;
    fn psann_adamw8bit_fused(
        value: *mut Raw,
        gradient: *const Raw,
        first: *mut Raw,
        first_scale: *mut Raw,
        second: *mut Raw,
        second_scale: *mut Raw,
        signed: CodeMapParts,
        unsigned: CodeMapParts,
        bins: i64,
        settings: *const AdamW,
        decay_after: c_int,
    ) -> c_int;
    fn psann_squares_fused(x: *const Raw, scale: f64, added: f64, of_rows: *mut Raw, of_columns: *mut Raw) -> c_int;
    fn psann_factored_sum_fused(
        gradient: *const Raw,
        rows: *const Raw,
        columns: *const Raw,
        cap: f64,
        gradient_scale: f64,
        sum: *mut f64,
    ) -> c_int;
    fn psann_factored_move_fused(
        value: *mut Raw,
        gradient: *const Raw,
        rows: *const Raw,
        columns: *const Raw,
        cap: f64,
        gradient_scale: f64,
        decay: f64,
        rate: f64,
    ) -> c_int;
    fn psann_round_stochastic_fused(x: *const Raw, to: *mut Raw, key: u64, first: i64) -> c_int;
    fn psann_squared_sum(x: *const Raw, sum: *mut f64) -> c_int;
}

/// See [`super::adamw_step`].
pub fn adamw(
    value: &mut Tensor,
    gradient: &Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
    settings: &AdamW,
) -> Result<()> {
    // SAFETY: live tensors; the three that are written are borrowed mutably, and the caller checked their shapes. The
    // shim reads the settings during the call only.
    check(unsafe {
        psann_adamw(value.as_mut_ptr(), gradient.as_ptr(), first.as_mut_ptr(), second.as_mut_ptr(), settings)
    })
}

/// See [`super::adamw::aten_adamw_step`].
pub fn aten_adamw(
    value: &mut Tensor,
    gradient: &mut Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
    settings: &AdamW,
) -> Result<()> {
    // SAFETY: live tensors, all borrowed mutably; ATen checks shapes and kinds itself.
    check(unsafe {
        psann_aten_adamw(value.as_mut_ptr(), gradient.as_mut_ptr(), first.as_mut_ptr(), second.as_mut_ptr(), settings)
    })
}

/// See [`super::adamw8bit::adamw8bit_step`]; for plain memory, with codes of the value's size and one scale per block.
pub fn adamw8bit(
    value: &mut Tensor,
    gradient: &Tensor,
    first: &mut Blocks,
    second: &mut Blocks,
    settings: &AdamW,
    decay: Decay,
) -> Result<()> {
    // SAFETY: live tensors; those that are written are borrowed mutably, and the caller checked kinds, sizes and that
    // they are contiguous on the CPU. The maps live as long as the program, have a value for each uint8, as many bins as
    // said, which the shim compares with what its kernels reach, and a midpoint for each place that a bin can name.
    check(unsafe {
        psann_adamw8bit_fused(
            value.as_mut_ptr(),
            gradient.as_ptr(),
            first.codes.as_mut_ptr(),
            first.scales.as_mut_ptr(),
            second.codes.as_mut_ptr(),
            second.scales.as_mut_ptr(),
            CodeMapParts::of(&SIGNED),
            CodeMapParts::of(&UNSIGNED),
            SIGNED.bins().len().min(UNSIGNED.bins().len()) as i64,
            settings,
            c_int::from(decay == Decay::After),
        )
    })
}

/// See [`super::factored::squares`]; `x` is plain, the sums are plain fp64 with one entry per row and column.
pub fn squares(x: &Tensor, scale: f64, added: f64, of_rows: &mut Tensor, of_columns: &mut Tensor) -> Result<()> {
    // SAFETY: live tensors, the written ones borrowed mutably; the caller made the sums of x's sizes.
    check(unsafe { psann_squares_fused(x.as_ptr(), scale, added, of_rows.as_mut_ptr(), of_columns.as_mut_ptr()) })
}

/// See [`Factors::squared_sum`]; all tensors are plain, and the gradient is rows by columns.
pub fn factored_sum(gradient: &Tensor, by: &Factors) -> Result<f64> {
    let mut sum = 0.0;
    // SAFETY: live tensors borrowed for the call, whose kinds and sizes the caller checked.
    check(unsafe {
        psann_factored_sum_fused(
            gradient.as_ptr(),
            by.rows.as_ptr(),
            by.columns.as_ptr(),
            by.cap,
            by.gradient_scale,
            &raw mut sum,
        )
    })?;
    Ok(sum)
}

/// See [`Factors::apply`]; all tensors are plain, value and gradient are rows by columns.
pub fn factored_move(value: &mut Tensor, gradient: &Tensor, by: &Factors, decay: f64, rate: f64) -> Result<()> {
    // SAFETY: live tensors, the written one borrowed mutably, whose kinds and sizes the caller checked.
    check(unsafe {
        psann_factored_move_fused(
            value.as_mut_ptr(),
            gradient.as_ptr(),
            by.rows.as_ptr(),
            by.columns.as_ptr(),
            by.cap,
            by.gradient_scale,
            decay,
            rate,
        )
    })
}

/// See [`super::rounding::round`]; both tensors are plain and of one size, `into` is bf16.
pub fn round_stochastic(x: &Tensor, into: &mut Tensor, key: u64, first_element: i64) -> Result<()> {
    // SAFETY: live tensors, the written one borrowed mutably, whose kinds and sizes the caller checked.
    check(unsafe { psann_round_stochastic_fused(x.as_ptr(), into.as_mut_ptr(), key, first_element) })
}

/// See [`super::squared_sum`].
pub fn squared_sum(x: &Tensor) -> Result<f64> {
    let mut sum = 0.0;
    // SAFETY: a live tensor borrowed for the call.
    check(unsafe { psann_squared_sum(x.as_ptr(), &raw mut sum) })?;
    Ok(sum)
}
