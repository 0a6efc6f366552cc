// CPU kernels on plain fp32 memory. One table per instruction set; the shim chooses at start by what the processor has.
//
// Everything that sums over rows does so in blocks of a fixed size and then over the blocks in order, so that results
// do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace psann {

// g in y = A * exp(-d * g) * sin(f * z)
enum class Decay : int { Abs = 0, Relu = 1, None = 2 };

struct Kernels {
  // z, y: [rows, features]; amplitude, frequency, decay: [features], after softplus and bounds.
  void (*sine_forward)(const float* z, const float* amplitude, const float* frequency, const float* decay, Decay mode,
                       float* y, int64_t rows, int64_t features);
  // Also gives the sums over rows of dy/dA, dy/df and dy/dd times the output gradient: `sums` is [3, features]; and y
  // itself when `y` is not null. `z_gradient` may be `output_gradient`.
  void (*sine_backward)(const float* z, const float* output_gradient, const float* amplitude, const float* frequency,
                        const float* decay, Decay mode, float* z_gradient, float* sums, float* y, int64_t rows,
                        int64_t features);
  // y = x * (scale * inverse), inverse = 1 / sqrt(mean(x^2) + eps): [rows].
  void (*rms_forward)(const float* x, const float* scale, float eps, float* y, float* inverse, int64_t rows,
                      int64_t width);
  void (*rms_backward)(const float* x, const float* scale, const float* inverse, const float* output_gradient,
                       float* x_gradient, float* scale_gradient, int64_t rows, int64_t width);
  // x: rows of [heads, size] with strides in elements; tables [positions, size / 2], `table_rows` of them: row r uses
  // table row r % table_rows. `direction` is 1 forward, -1 backward. y is contiguous.
  void (*rotate)(const float* x, int64_t row_stride, int64_t head_stride, const float* cosine, const float* sine,
                 int64_t table_rows, float direction, float* y, int64_t rows, int64_t heads, int64_t size);
  // In place: logits [rows, classes] become the gradient of scale * sum of losses; losses [rows] without smoothing,
  // smooth [rows] the loss with it. Rows with a negative label become zero. `gradient` false leaves the logits undefined.
  void (*cross_entropy)(float* logits, const int64_t* labels, float smoothing, float scale, bool gradient, float* losses,
                        float* smooth, int64_t rows, int64_t classes);
};

const Kernels& kernels();

// What the processor has, as the index of a table among {default, AVX2, AVX-512}.
int instruction_set();

}  // namespace psann
