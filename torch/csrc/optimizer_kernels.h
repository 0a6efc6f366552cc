// CPU kernels of optimizers on plain fp32 memory. One table per instruction set, as in kernels.h.
//
// What an element becomes depends on its block alone, and sums are made of blocks of a fixed size, so that neither
// threads nor the place of a shard's boundaries change a result.
#pragma once

#include <cstdint>

namespace psann {

struct AdamW {
  float rate_over_correction;  // lr / (1 - beta1^t)
  float decay;                 // 1 - lr * weight_decay
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float root_correction;  // sqrt(1 - beta2^t)
  float eps;
  float gradient_scale;
};

// With numerator and denominator of the move times the root of the second correction, which saves a division.
struct Adam8bit {
  double beta1, beta2;
  double first_share;   // (1 - beta1) * gradient_scale
  double second_share;  // (1 - beta2) * gradient_scale^2
  float rate;   // lr * sqrt(1 - beta2^t) / (1 - beta1^t)
  float eps;    // eps * sqrt(1 - beta2^t)
  float decay;  // 1 - lr * weight_decay
};

// Elements that share one scale.
constexpr int64_t kCodeBlock = 256;

// One of the two maps between codes and values in [-1, 1].
struct CodeMap {
  const double* values;  // 256 fp32 numbers, ascending
  // By the leading bits of an fp32 magnitude, from kLeastBits on: the place of the nearest value counted from zero, in the
  // top byte, and the trailing bits of the greatest fp32 up to the midpoint inside the bin.
  const uint32_t* bins;
  // The place after the given one is nearest to magnitudes above this; only for what fp32 cannot decide.
  const double* midpoints;
};

// |x| below 2^-24 is nearest to zero on both maps; from there, 128 bins per power of two hold one midpoint at most.
constexpr int kBinShift = 16;
constexpr int32_t kLeastBits = (127 - 24) << 23, kMostBits = 127 << 23, kFirstBin = kLeastBits >> kBinShift;
constexpr int64_t kBins = ((kMostBits - kLeastBits) >> kBinShift) + 1;

// A second moment that is the product of a row and a column, and the move that follows from it.
struct Factored {
  const float* rows;     // 1 / root of the row's part
  const float* columns;  // 1 / root of the column's part
  float cap;             // greatest factor on a gradient
  float gradient_scale;
};

struct OptimizerKernels {
  void (*adamw)(float* value, const float* gradient, float* first, float* second, AdamW settings, int64_t count);
  // Codes in blocks of kCodeBlock elements, the last perhaps shorter; one scale per block.
  void (*adamw8bit)(float* value, const float* gradient, uint8_t* first, float* first_scale, uint8_t* second,
                    float* second_scale, CodeMap signed_map, CodeMap unsigned_map, Adam8bit settings, bool decay_after,
                    int64_t count);
  // Sums of (scale * x)^2 + added over each row and each column of x [rows, columns].
  void (*squares)(const float* x, float scale, double added, double* of_rows, double* of_columns, int64_t rows,
                  int64_t columns);
  // Sum of squared updates.
  double (*factored_sum)(const float* gradient, Factored by, int64_t rows, int64_t columns);
  // value = value * decay - rate * update
  void (*factored_move)(float* value, const float* gradient, Factored by, float decay, float rate, int64_t rows,
                        int64_t columns);
  // fp32 to the bits of bf16, up with the probability of what is cut off; random bits from key and element number.
  void (*round_stochastic)(const float* x, uint16_t* to, uint64_t key, uint64_t first, int64_t count);
  double (*squared_sum)(const float* x, int64_t count);
};

const OptimizerKernels& optimizer_kernels();

}  // namespace psann
