// See products.h.

#include "products.h"

#include "interface.h"

// libtorch for x86 is linked with MKL, whose product of bf16 with an fp32 result none of ATen's operations offers on the
// CPU. Where it is missing the address is null.
extern "C" __attribute__((weak)) void cblas_gemm_bf16bf16f32(int layout, int transpose_a, int transpose_b, int rows,
                                                             int columns, int inner, float alpha, const void* a,
                                                             int a_stride, const void* b, int b_stride, float beta,
                                                             float* c, int c_stride);

namespace psann {
namespace {

constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;

bool wide_product(const Tensor& g, const Tensor& x) {
  return has_bf16_product() && g.device().is_cpu() && g.scalar_type() == at::kBFloat16 &&
         x.scalar_type() == at::kBFloat16 && g.numel() > 0 && x.numel() > 0;
}

// buffer = beta * buffer + g^T x
void product_into(const Tensor& buffer, const Tensor& g, const Tensor& x, float beta) {
  const Tensor left = g.contiguous(), right = x.contiguous();
  bf16_product({left.const_data_ptr<c10::BFloat16>(), left.size(1), true},
               {right.const_data_ptr<c10::BFloat16>(), right.size(1), false}, 1, beta, buffer.mutable_data_ptr<float>(),
               buffer.size(1), left.size(1), right.size(1), left.size(0));
}

}  // namespace

bool has_bf16_product() { return cblas_gemm_bf16bf16f32 != nullptr; }

void bf16_product(Bf16Operand a, Bf16Operand b, float alpha, float beta, float* c, int64_t c_stride, int64_t rows,
                  int64_t columns, int64_t inner) {
  cblas_gemm_bf16bf16f32(kRowMajor, a.transposed ? kTransposed : kPlain, b.transposed ? kTransposed : kPlain,
                         static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(inner), alpha, a.data,
                         static_cast<int>(a.stride), b.data, static_cast<int>(b.stride), beta, c,
                         static_cast<int>(c_stride));
}

Tensor weight_gradient(const Tensor& g, const Tensor& x) {
  if (!wide_product(g, x)) return at::mm(g.t(), x);
  const Tensor result = at::empty({g.size(1), x.size(1)}, g.options().dtype(at::kFloat));
  product_into(result, g, x, 0);
  return result;
}

void add_weight_gradient(Tensor& buffer, const Tensor& g, const Tensor& x) {
  if (buffer.scalar_type() == g.scalar_type()) {
    buffer.addmm_(g.t(), x);
  } else if (wide_product(g, x) && fused(buffer) && buffer.is_contiguous()) {
    product_into(buffer, g, x, 1);
  } else {
    buffer.add_(at::mm(g.t(), x));
  }
}

Tensor bias_gradient(const Tensor& g) {
  if (!g.device().is_cpu() || g.scalar_type() != at::kBFloat16) return g.sum(0);
  const Tensor rows = g.contiguous();
  Tensor sums = at::empty({g.size(1)}, g.options().dtype(at::kFloat));
  kernels().half.column_sums(rows.const_data_ptr<c10::BFloat16>(), sums.mutable_data_ptr<float>(), g.size(0), g.size(1));
  return sums;
}

}  // namespace psann
