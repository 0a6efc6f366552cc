// CPU kernels of forward passes without gradients. One table per instruction set, as in kernels.h.
//
// Every number is computed in an order that follows from its own row alone: how many rows are computed together, which
// thread takes them, and whether keys come from a cache or from the same pass changes no bit of it.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace psann {

// Consecutive tokens of one sequence in a pass, and where the keys and values are that they see.
struct AttentionRun {
  // The run's tokens among those of the pass.
  int64_t first, count;
  // Keys before those of the run's first token, which sees `past` + 1 of them.
  int64_t past;
  // Rows [kv_heads, size] of the first `head_rows` keys and values, and of those behind them.
  const float *head_keys, *head_values;
  int64_t head_rows;
  const float *tail_keys, *tail_values;
};

struct AttentionShape {
  int64_t tokens, heads, kv_heads, size;
  float scale;
  // Null, or one number per head that is subtracted from a score for each position of distance.
  const float* slopes;
};

template <typename Weight>
using Product = void (*)(const float* x, const Weight* weight, const float* bias, float* y, int64_t rows,
                         int64_t features, int64_t outputs);

struct InferenceKernels {
  // y [rows, outputs] = x [rows, features] . weight^T [outputs, features] + bias (or null).
  Product<float> product;
  Product<c10::BFloat16> product_half;
  // q, y: [tokens, heads, size].
  void (*attention)(const float* q, const AttentionRun* runs, int64_t run_count, const AttentionShape& shape, float* y);
  // Per row of logits: the logarithm of the sum of exponentials, and the first largest class.
  void (*normalisers)(const float* logits, double* log_sums, int64_t* greedy, int64_t rows, int64_t classes);
  // y = gate * sigmoid(gate) * up.
  void (*swiglu)(const float* gate, const float* up, float* y, int64_t rows, int64_t width);
  // y = x * (1 + erf(x / sqrt 2)) / 2.
  void (*gelu)(const float* x, float* y, int64_t rows, int64_t width);
};

const InferenceKernels& inference_kernels();

}  // namespace psann
