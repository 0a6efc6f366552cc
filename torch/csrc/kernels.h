// CPU kernels on plain memory. One table per instruction set; the shim chooses at start by what the processor has.
//
// Everything that sums over rows does so in blocks of a fixed size and then over the blocks in order, so that results
// do not depend on the number of threads.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <type_traits>

namespace psann {

// g in y = A * exp(-d * g) * sin(f * z)
enum class Decay : int { Abs = 0, Relu = 1, None = 2 };

// Kernels over rows of fp32 or bf16 elements. Arithmetic is fp32 either way, and so are vectors, tables and sums.
template <typename Element>
struct RowKernels {
  // z, y: [rows, features]; amplitude, frequency, decay: [features], after softplus and bounds.
  void (*sine_forward)(const Element* z, const float* amplitude, const float* frequency, const float* decay, Decay mode,
                       Element* y, int64_t rows, int64_t features);
  // Also gives the sums over rows of dy/dA, dy/df and dy/dd times the output gradient: `sums` is [3, features]; and y
  // itself when `y` is not null. `z_gradient` may be `output_gradient`.
  void (*sine_backward)(const Element* z, const Element* output_gradient, const float* amplitude, const float* frequency,
                        const float* decay, Decay mode, Element* z_gradient, float* sums, Element* y, int64_t rows,
                        int64_t features);
  // y = x * (scale * inverse), inverse = 1 / sqrt(mean(x^2) + eps): [rows].
  void (*rms_forward)(const Element* x, const float* scale, float eps, Element* y, float* inverse, int64_t rows,
                      int64_t width);
  void (*rms_backward)(const Element* x, const float* scale, const float* inverse, const Element* output_gradient,
                       Element* x_gradient, float* scale_gradient, int64_t rows, int64_t width);
  // x: rows of [heads, size] with strides in elements; tables [positions, size / 2], `table_rows` of them: row r uses
  // table row r % table_rows. `direction` is 1 forward, -1 backward. With `halves` feature i turns with i + size / 2, else
  // 2i with 2i + 1. y is contiguous.
  void (*rotate)(const Element* x, int64_t row_stride, int64_t head_stride, const float* cosine, const float* sine,
                 int64_t table_rows, float direction, bool halves, Element* y, int64_t rows, int64_t heads,
                 int64_t size);
  // In place: logits [rows, classes] become the gradient of scale * sum of losses; losses [rows] without smoothing,
  // smooth [rows] the loss with it. Rows with a negative label become zero. `gradient` false leaves the logits undefined.
  void (*cross_entropy)(Element* logits, const int64_t* labels, float smoothing, float scale, bool gradient, float* losses,
                        float* smooth, int64_t rows, int64_t classes);
  // gradient [classes, width] += output gradient [count, width] by ids.
  void (*embedding_backward)(const Element* output_gradient, const int64_t* ids, float* gradient, int64_t count,
                             int64_t width);
  // y = x + factor * m.
  void (*scaled_add)(const Element* x, const Element* m, float factor, Element* y, int64_t count);
  // Gives the gradient of the factor.
  float (*scaled_add_backward)(const Element* output_gradient, const Element* m, float factor, Element* m_gradient,
                               int64_t count);
  // x: [rows, width].
  void (*column_sums)(const Element* x, float* sums, int64_t rows, int64_t width);
};

struct Kernels {
  RowKernels<float> single;
  RowKernels<c10::BFloat16> half;
};

const Kernels& kernels();

// What the processor has, or less if the variable PSANN_INSTRUCTIONS says so, as the index of a table among {default,
// AVX2, AVX-512}. Throws on a value that names none of them.
int instruction_set();

template <typename Element>
const RowKernels<Element>& row_kernels() {
  if constexpr (std::is_same_v<Element, float>) {
    return kernels().single;
  } else {
    return kernels().half;
  }
}

}  // namespace psann
