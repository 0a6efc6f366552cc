// What the units of the shim share: how they answer Rust, and when a kernel of ours takes a tensor.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "guard.h"
#include "kernels.h"

namespace psann {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

inline Tensor* owned(const Tensor& tensor) {
  return tensor.defined() ? new Tensor(tensor) : nullptr;
}

inline bool fused(const Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat;
}

// Whether kernels on rows take the elements of this tensor.
inline bool fused_rows(const Tensor& tensor) {
  return tensor.device().is_cpu() && (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kBFloat16);
}

// Calls `work` with a value of the element type of a tensor for which `fused_rows` holds.
template <typename Work>
void with_element(const Tensor& tensor, Work&& work) {
  if (tensor.scalar_type() == at::kFloat) {
    work(float{});
  } else {
    work(c10::BFloat16{});
  }
}

}  // namespace psann
