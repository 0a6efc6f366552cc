// Matrix products of a backward pass.
#pragma once

#include <ATen/ATen.h>

namespace psann {

// The gradient of a weight [out, features] of y = x * weight^T: g [rows, out] transposed times x [rows, features]. Of
// bf16 on the CPU it is fp32.
at::Tensor weight_gradient(const at::Tensor& g, const at::Tensor& x);

// Adds it to a buffer, which may be of a wider dtype.
void add_weight_gradient(at::Tensor& buffer, const at::Tensor& g, const at::Tensor& x);

// Column sums of g [rows, out]: the gradient of a bias, fp32 for bf16 on the CPU.
at::Tensor bias_gradient(const at::Tensor& g);

// C [rows, columns] = alpha * A * B + beta * C in bf16 with fp32 accumulation and result, row-major with strides of rows
// in elements; `transposed` says that a matrix is stored the other way around.
struct Bf16Operand {
  const c10::BFloat16* data;
  int64_t stride;
  bool transposed;
};
void bf16_product(Bf16Operand a, Bf16Operand b, float alpha, float beta, float* c, int64_t c_stride, int64_t rows,
                  int64_t columns, int64_t inner);

// Whether this libtorch has such a product.
bool has_bf16_product();

}  // namespace psann
