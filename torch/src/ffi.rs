//! The C interface of `csrc/shim.cpp`, made safe: every other module calls these wrappers, or those of its own unit.

use std::ffi::{CStr, c_char, c_int, c_void};

use psann_core::{Error, Result};
use tch::Tensor;

/// libtorch's tensor, as tch points to it.
pub type Raw = torch_sys::C_tensor;

unsafe extern "C" {
    fn psann_last_error() -> *const c_char;
    fn psann_libtorch_version() -> *const c_char;
    fn psann_leaf(value: *const Raw, trainable: c_int, result: *mut *mut Raw) -> c_int;
    fn psann_gradients(
        output: *const Raw,
        output_gradient: *const Raw,
        inputs: *const *const Raw,
        count: i64,
        gradients: *mut *mut Raw,
    ) -> c_int;
    fn psann_damped_sine(
        z: *const Raw,
        amplitude: *const Raw,
        frequency: *const Raw,
        decay: *const Raw,
        mode: c_int,
        bounds: *const f64,
        result: *mut *mut Raw,
    ) -> c_int;
    fn psann_damped_sine_linear(
        z: *const Raw,
        amplitude: *const Raw,
        frequency: *const Raw,
        decay: *const Raw,
        weight: *const Raw,
        bias: *const Raw,
        mode: c_int,
        bounds: *const f64,
        result: *mut *mut Raw,
    ) -> c_int;
    fn psann_rms_norm(x: *const Raw, scale: *const Raw, eps: f64, result: *mut *mut Raw) -> c_int;
    fn psann_rotate(x: *const Raw, cosine: *const Raw, sine: *const Raw, halves: c_int, result: *mut *mut Raw)
    -> c_int;
    fn psann_linear(x: *const Raw, weight: *const Raw, bias: *const Raw, result: *mut *mut Raw) -> c_int;
    fn psann_embedding(weight: *const Raw, ids: *const Raw, result: *mut *mut Raw) -> c_int;
    fn psann_scaled_add(x: *const Raw, alpha: *const Raw, m: *const Raw, result: *mut *mut Raw) -> c_int;
    fn psann_linear_cross_entropy(
        hidden: *const Raw,
        weight: *const Raw,
        labels: *const Raw,
        buffer: *const Raw,
        chunk: i64,
        smoothing: f64,
        scale: f64,
        per_token: c_int,
        gradients: c_int,
        sum: *mut f64,
        targets: *mut i64,
        hidden_gradient: *mut *mut Raw,
        weight_gradient: *mut *mut Raw,
        losses: *mut *mut Raw,
    ) -> c_int;
    fn psann_bytes(x: *const Raw, data: *mut *const c_void, count: *mut i64) -> c_int;
    fn psann_storage_empty(x: *const Raw) -> c_int;
    fn psann_storage_refill(x: *const Raw) -> c_int;
}

/// The message of the last failure on this thread.
fn last_error() -> Error {
    // SAFETY: the shim returns the NUL-terminated text of a thread-local string, which lives until the next call on
    // this thread; it is copied at once.
    let text = unsafe { CStr::from_ptr(psann_last_error()) }.to_string_lossy().into_owned();
    Error::new(format!("libtorch: {}", text.lines().next().unwrap_or("unknown failure")))
}

/// The failure that a status other than 0 stands for.
pub fn check(status: c_int) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(last_error()) }
}

/// Takes over a tensor that the shim made.
///
/// # Safety
/// `pointer` is null or owns a tensor that nobody else will free.
unsafe fn adopt(pointer: *mut Raw) -> Option<Tensor> {
    // SAFETY: by this function's own contract.
    (!pointer.is_null()).then(|| unsafe { Tensor::from_ptr(pointer) })
}

pub fn made(status: c_int, pointer: *mut Raw) -> Result<Tensor> {
    check(status)?;
    // SAFETY: on success the shim has written a new tensor that is ours.
    unsafe { adopt(pointer) }.ok_or_else(|| Error::new("libtorch returned no tensor"))
}

/// Version text of the headers.
pub fn libtorch_version() -> String {
    // SAFETY: a string literal of the shim.
    unsafe { CStr::from_ptr(psann_libtorch_version()) }.to_string_lossy().into_owned()
}

/// See [`crate::autograd::leaf`].
pub fn leaf(value: &Tensor, trainable: bool) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    // SAFETY: a live tensor borrowed for the call.
    let status = unsafe { psann_leaf(value.as_ptr(), c_int::from(trainable), &raw mut result) };
    made(status, result)
}

/// See [`crate::autograd::gradients`].
pub fn gradients(output: &Tensor, output_gradient: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    let pointers: Vec<*const Raw> = inputs.iter().map(|input| input.as_ptr()).collect();
    let mut results = vec![std::ptr::null_mut(); inputs.len()];
    // SAFETY: all pointers are live tensors borrowed for the call; `results` has room for one pointer per input.
    let status = unsafe {
        psann_gradients(
            output.as_ptr(),
            output_gradient.as_ptr(),
            pointers.as_ptr(),
            pointers.len() as i64,
            results.as_mut_ptr(),
        )
    };
    check(status)?;
    // SAFETY: on success each entry is null or a new tensor that is ours.
    Ok(results.into_iter().map(|pointer| unsafe { adopt(pointer) }).collect())
}

/// See [`crate::sine::damped_sine`]; bounds are NaN where there is none.
pub fn damped_sine(z: &Tensor, vectors: [&Tensor; 3], mode: c_int, bounds: &[f64; 6]) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    let [amplitude, frequency, decay] = vectors.map(Tensor::as_ptr);
    // SAFETY: live tensors borrowed for the call; six bounds, as the shim reads.
    let status =
        unsafe { psann_damped_sine(z.as_ptr(), amplitude, frequency, decay, mode, bounds.as_ptr(), &raw mut result) };
    made(status, result)
}

/// See [`crate::sine::damped_sine_linear`]; for contiguous fp32 and bf16 on the CPU only.
pub fn damped_sine_linear(
    z: &Tensor,
    vectors: [&Tensor; 3],
    [weight, bias]: [&Tensor; 2],
    mode: c_int,
    bounds: &[f64; 6],
) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    let [amplitude, frequency, decay] = vectors.map(Tensor::as_ptr);
    // SAFETY: live tensors borrowed for the call, whose kinds, device and shapes the caller checked; six bounds.
    let status = unsafe {
        psann_damped_sine_linear(
            z.as_ptr(),
            amplitude,
            frequency,
            decay,
            weight.as_ptr(),
            bias.as_ptr(),
            mode,
            bounds.as_ptr(),
            &raw mut result,
        )
    };
    made(status, result)
}

/// See [`crate::norm::rms_norm`].
pub fn rms_norm(x: &Tensor, scale: &Tensor, eps: f64) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    // SAFETY: live tensors borrowed for the call.
    let status = unsafe { psann_rms_norm(x.as_ptr(), scale.as_ptr(), eps, &raw mut result) };
    made(status, result)
}

/// See [`crate::rotary`].
pub fn rotate(x: &Tensor, cosine: &Tensor, sine: &Tensor, halves: bool) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    // SAFETY: live tensors borrowed for the call.
    let status = unsafe { psann_rotate(x.as_ptr(), cosine.as_ptr(), sine.as_ptr(), halves.into(), &raw mut result) };
    made(status, result)
}

/// See [`crate::linear::linear`].
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    let bias = bias.map_or(std::ptr::null(), Tensor::as_ptr);
    // SAFETY: live tensors borrowed for the call; a missing bias is null, as the shim expects.
    let status = unsafe { psann_linear(x.as_ptr(), weight.as_ptr(), bias, &raw mut result) };
    made(status, result)
}

/// See [`crate::linear::embedding`].
pub fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    // SAFETY: live tensors borrowed for the call; libtorch checks the ids before it reads a row.
    let status = unsafe { psann_embedding(weight.as_ptr(), ids.as_ptr(), &raw mut result) };
    made(status, result)
}

/// See [`crate::linear::scaled_add`].
pub fn scaled_add(x: &Tensor, alpha: &Tensor, m: &Tensor) -> Result<Tensor> {
    let mut result = std::ptr::null_mut();
    // SAFETY: live tensors borrowed for the call, of the shapes that the caller checked.
    let status = unsafe { psann_scaled_add(x.as_ptr(), alpha.as_ptr(), m.as_ptr(), &raw mut result) };
    made(status, result)
}

/// See [`crate::loss::linear_cross_entropy`].
pub fn linear_cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    labels: &Tensor,
    buffer: Option<&Tensor>,
    chunk: i64,
    options: &crate::loss::LossOptions,
) -> Result<crate::loss::Loss> {
    let (mut sum, mut targets) = (0.0, 0);
    let mut results: [*mut Raw; 3] = [std::ptr::null_mut(); 3];
    let [hidden_gradient, weight_gradient, per_token] = &mut results;
    // SAFETY: live tensors borrowed for the call. The buffer is written through its pointer, which libtorch's tensors
    // allow through shared handles too (tch does the same); the caller checked its shape and dtype.
    let status = unsafe {
        psann_linear_cross_entropy(
            hidden.as_ptr(),
            weight.as_ptr(),
            labels.as_ptr(),
            buffer.map_or(std::ptr::null(), Tensor::as_ptr),
            chunk,
            options.label_smoothing,
            options.scale,
            c_int::from(options.per_token),
            c_int::from(options.gradients),
            &raw mut sum,
            &raw mut targets,
            &raw mut *hidden_gradient,
            &raw mut *weight_gradient,
            &raw mut *per_token,
        )
    };
    check(status)?;
    // SAFETY: on success each entry is null or a new tensor that is ours.
    let [hidden_gradient, weight_gradient, per_token] = results.map(|pointer| unsafe { adopt(pointer) });
    Ok(crate::loss::Loss { sum, targets, hidden_gradient, weight_gradient, per_token })
}

/// See [`crate::bytes::of`].
pub fn bytes(x: &Tensor) -> Result<&[u8]> {
    let (mut data, mut count) = (std::ptr::null(), 0);
    // SAFETY: a live tensor borrowed for the call.
    check(unsafe { psann_bytes(x.as_ptr(), &raw mut data, &raw mut count) })?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: the shim checked that the tensor is contiguous in CPU memory and told its size. The memory lives as long
    // as the tensor, which the result borrows; like tch's own data pointers this trusts that nobody writes to the
    // tensor through another handle meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), count as usize) })
}

/// See [`crate::storage::empty`].
pub fn storage_empty(x: &Tensor) -> Result<()> {
    // SAFETY: a live tensor borrowed for the call; its storage keeps its size and loses its memory, which libtorch's
    // reference count of that memory frees. Reading through it is the caller's contract not to.
    check(unsafe { psann_storage_empty(x.as_ptr()) })
}

/// See [`crate::storage::refill`].
pub fn storage_refill(x: &Tensor) -> Result<()> {
    // SAFETY: a live tensor borrowed for the call; the storage gets fresh memory of its own size from its device's
    // allocator.
    check(unsafe { psann_storage_refill(x.as_ptr()) })
}
