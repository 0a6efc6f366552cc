// See optimizer_kernels.h. Compiled once per instruction set; PSANN_OPTIMIZER_KERNELS names the table of this unit.

#include "optimizer_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace psann {
// Everything has internal linkage: three units hold the same names.
namespace {

using Vec = at::vec::Vectorized<float>;
constexpr int64_t kLanes = Vec::size();

Vec load(const float* from, int64_t count) {
  return count >= kLanes ? Vec::loadu(from) : Vec::loadu(from, count);
}

void store(const Vec& value, float* to, int64_t count) {
  if (count >= kLanes) {
    value.store(to);
  } else {
    value.store(to, static_cast<int>(count));
  }
}

float horizontal_sum(const Vec& value) {
  alignas(64) float lanes[kLanes];
  value.store(lanes);
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

uint64_t bits_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

// ---- AdamW -------------------------------------------------------------------------------------------------------

void adamw(float* value, const float* gradient, float* first, float* second, AdamW s, int64_t count) {
  at::parallel_for(0, (count + 4095) / 4096, 4, [&](int64_t begin, int64_t end) {
    const Vec scale(s.gradient_scale), beta2(s.beta2), one1(s.one_minus_beta1), one2(s.one_minus_beta2);
    const Vec root(s.root_correction), eps(s.eps), rate(s.rate_over_correction), decay(s.decay);
    for (int64_t i = begin * 4096; i < std::min(count, end * 4096); i += kLanes) {
      const int64_t n = std::min(kLanes, count - i);
      const Vec g = load(gradient + i, n) * scale;
      const Vec old = load(first + i, n);
      const Vec m = old + one1 * (g - old);
      const Vec v = load(second + i, n) * beta2 + one2 * g * g;
      const Vec step = m / (v.sqrt() / root + eps);
      store(m, first + i, n);
      store(v, second + i, n);
      store(load(value + i, n) * decay - rate * step, value + i, n);
    }
  });
}

// ---- AdamW with states of 8 bits ---------------------------------------------------------------------------------

// The place of the nearest value, counted from zero; NaN gives some place.
inline int32_t nearest(double x, const uint32_t* bins) {
  constexpr uint64_t behind = (uint64_t(1) << kKeyShift) - 1;
  const double magnitude = std::fabs(x);
  const double most = magnitude < 1.0 ? magnitude : 1.0;
  const uint64_t bits = bits_of(most > kLeast ? most : kLeast) - kLeastBits;
  const uint32_t key = static_cast<uint32_t>(bits >> kKeyShift) * 2 + ((bits & behind) != 0 ? 1u : 0u);
  const uint32_t bin = bins[key >> kBinShift];
  constexpr uint32_t low = (1u << kBinShift) - 1;
  return static_cast<int32_t>((bin >> 24) + ((key & low) > (bin & low) ? 1u : 0u));
}

// One block of kCodeBlock elements; the loops are written for the compiler's vectoriser. Moments are fp64 between two
// roundings to codes: gradients often have few bits, so their quotients crowd around midpoints, and which side they fall on
// must not be a matter of fp32's last place.
template <bool decay_after>
void adamw8bit_block(float* __restrict value, const float* __restrict gradient, uint8_t* __restrict first,
                     float* first_scale, uint8_t* __restrict second, float* second_scale, const CodeMap& signed_map,
                     const CodeMap& unsigned_map, const Adam8bit& s) {
  alignas(64) double m[kCodeBlock], v[kCodeBlock];
  const double keep_first = s.beta1 * *first_scale, keep_second = s.beta2 * *second_scale;
  const float* __restrict signed_values = signed_map.values;
  const float* __restrict unsigned_values = unsigned_map.values;
  double most_first = 0, most_second = 0;
#pragma omp simd reduction(max : most_first, most_second)
  for (int64_t i = 0; i < kCodeBlock; ++i) {
    const double g = gradient[i] * s.gradient_scale;
    const double new_first = signed_values[first[i]] * keep_first + s.one_minus_beta1 * g;
    const double new_second = unsigned_values[second[i]] * keep_second + s.one_minus_beta2 * g * g;
    // A gradient that is no number, or whose square fp32 cannot hold, leaves the weight alone and empties its state.
    const bool sound = new_second <= 3.4028234663852886e38;
    const double kept_first = sound ? new_first : 0.0, kept_second = sound ? new_second : 0.0;
    m[i] = kept_first;
    v[i] = kept_second;
    const double magnitude = std::fabs(kept_first);
    most_first = most_first > magnitude ? most_first : magnitude;
    most_second = most_second > kept_second ? most_second : kept_second;
    const float old = value[i];
    const float step = s.rate * static_cast<float>(kept_first) / (std::sqrt(static_cast<float>(kept_second)) + s.eps);
    const float moved = decay_after ? (old - step) * s.decay : old * s.decay - step;
    value[i] = sound ? moved : old;
  }
  *first_scale = static_cast<float>(most_first);
  *second_scale = static_cast<float>(most_second);
  const double by_first = most_first > 0 ? 1 / most_first : 1, by_second = most_second > 0 ? 1 / most_second : 1;
  const uint32_t* __restrict signed_bins = signed_map.bins;
  const uint32_t* __restrict unsigned_bins = unsigned_map.bins;
#pragma omp simd
  for (int64_t i = 0; i < kCodeBlock; ++i) {
    const int32_t place = nearest(m[i] * by_first, signed_bins);
    // -1 has no code of its own, and what is below zero never becomes zero.
    const int32_t below = 127 - std::max(std::min(place, 127), 1);
    first[i] = static_cast<uint8_t>(std::signbit(m[i]) ? below : 127 + place);
    second[i] = static_cast<uint8_t>(nearest(v[i] * by_second, unsigned_bins));
  }
}

template <bool decay_after>
void adamw8bit_blocks(float* value, const float* gradient, uint8_t* first, float* first_scale, uint8_t* second,
                      float* second_scale, const CodeMap& signed_map, const CodeMap& unsigned_map, const Adam8bit& s,
                      int64_t begin, int64_t end, int64_t count) {
  for (int64_t block = begin; block < end; ++block) {
    const int64_t at = block * kCodeBlock, n = std::min(kCodeBlock, count - at);
    if (n == kCodeBlock) {
      adamw8bit_block<decay_after>(value + at, gradient + at, first + at, first_scale + block, second + at,
                                   second_scale + block, signed_map, unsigned_map, s);
      continue;
    }
    // The same arithmetic for a block that ends early: what is behind it has zero state and gradient.
    alignas(64) float values[kCodeBlock] = {}, gradients[kCodeBlock] = {};
    alignas(64) uint8_t firsts[kCodeBlock], seconds[kCodeBlock] = {};
    std::memset(firsts, 127, sizeof(firsts));
    std::memcpy(values, value + at, n * sizeof(float));
    std::memcpy(gradients, gradient + at, n * sizeof(float));
    std::memcpy(firsts, first + at, n);
    std::memcpy(seconds, second + at, n);
    adamw8bit_block<decay_after>(values, gradients, firsts, first_scale + block, seconds, second_scale + block,
                                 signed_map, unsigned_map, s);
    std::memcpy(value + at, values, n * sizeof(float));
    std::memcpy(first + at, firsts, n);
    std::memcpy(second + at, seconds, n);
  }
}

void adamw8bit(float* value, const float* gradient, uint8_t* first, float* first_scale, uint8_t* second,
               float* second_scale, CodeMap signed_map, CodeMap unsigned_map, Adam8bit s, bool decay_after,
               int64_t count) {
  at::parallel_for(0, (count + kCodeBlock - 1) / kCodeBlock, 64, [&](int64_t begin, int64_t end) {
    if (decay_after) {
      adamw8bit_blocks<true>(value, gradient, first, first_scale, second, second_scale, signed_map, unsigned_map, s,
                             begin, end, count);
    } else {
      adamw8bit_blocks<false>(value, gradient, first, first_scale, second, second_scale, signed_map, unsigned_map, s,
                              begin, end, count);
    }
  });
}

// ---- factored second moments -------------------------------------------------------------------------------------

// Rows that are summed by one thread before their sum joins the others, and those summed in fp32 before that.
constexpr int64_t kRowBlock = 256, kShortSum = 32;

void squares(const float* x, float scale, double added, double* of_rows, double* of_columns, int64_t rows,
             int64_t columns) {
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  std::vector<double> partials(blocks * columns, 0.0);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    std::vector<float> run(columns);
    const Vec factor(scale);
    for (int64_t block = first; block < last; ++block) {
      double* into = partials.data() + block * columns;
      const int64_t end = std::min(rows, (block + 1) * kRowBlock);
      for (int64_t top = block * kRowBlock; top < end; top += kShortSum) {
        std::fill(run.begin(), run.end(), 0.f);
        const int64_t bottom = std::min(end, top + kShortSum);
        for (int64_t row = top; row < bottom; ++row) {
          const float* line = x + row * columns;
          double sum = 0;
          for (int64_t left = 0; left < columns; left += 512) {
            Vec part(0.f);
            const int64_t right = std::min(columns, left + 512);
            for (int64_t i = left; i < right; i += kLanes) {
              const int64_t n = std::min(kLanes, right - i);
              const Vec g = load(line + i, n) * factor;
              const Vec square = g * g;
              part = part + square;
              store(load(run.data() + i, n) + square, run.data() + i, n);
            }
            sum += horizontal_sum(part);
          }
          of_rows[row] = sum + added * static_cast<double>(columns);
        }
        for (int64_t i = 0; i < columns; ++i) into[i] += run[i];
      }
    }
  });
  for (int64_t i = 0; i < columns; ++i) of_columns[i] = added * static_cast<double>(rows);
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t i = 0; i < columns; ++i) of_columns[i] += partials[block * columns + i];
  }
}

Vec update(const float* gradient, const float* columns, const Vec& row, const Vec& cap, const Vec& scale, int64_t n) {
  // The minimum comes first: a zero row or column has an infinite factor.
  return at::vec::minimum(row * load(columns, n), cap) * (load(gradient, n) * scale);
}

double factored_sum(const float* gradient, Factored by, int64_t rows, int64_t columns) {
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  std::vector<double> partials(blocks, 0.0);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    const Vec cap(by.cap), scale(by.gradient_scale);
    for (int64_t row = first * kRowBlock; row < std::min(rows, last * kRowBlock); ++row) {
      const Vec factor(by.rows[row]);
      for (int64_t left = 0; left < columns; left += 512) {
        Vec part(0.f);
        const int64_t right = std::min(columns, left + 512);
        for (int64_t i = left; i < right; i += kLanes) {
          const Vec u = update(gradient + row * columns + i, by.columns + i, factor, cap, scale, std::min(kLanes, right - i));
          part = part + u * u;
        }
        partials[row / kRowBlock] += horizontal_sum(part);
      }
    }
  });
  double sum = 0;
  for (double partial : partials) sum += partial;
  return sum;
}

void factored_move(float* value, const float* gradient, Factored by, float decay, float rate, int64_t rows,
                   int64_t columns) {
  at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, columns)), [&](int64_t begin, int64_t end) {
    const Vec cap(by.cap), scale(by.gradient_scale), keep(decay), step(rate);
    for (int64_t row = begin; row < end; ++row) {
      const Vec factor(by.rows[row]);
      for (int64_t i = 0; i < columns; i += kLanes) {
        const int64_t n = std::min(kLanes, columns - i), at = row * columns + i;
        const Vec u = update(gradient + at, by.columns + i, factor, cap, scale, n);
        store(load(value + at, n) * keep - step * u, value + at, n);
      }
    }
  });
}

// ---- rounding ----------------------------------------------------------------------------------------------------

// A bijection of 32 bits in which every input bit changes every output bit about half of the time (C. Wellons'
// "lowbias32").
inline uint32_t mixed(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

// A finite number stays finite: what would round up to infinity keeps the greatest bf16.
inline uint16_t rounded(float x, uint32_t random) {
  const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffffu;
  const uint32_t up = bits + (random >> 16);
  const uint32_t least = (up & 0x7f800000u) == 0x7f800000u ? bits : up;
  const uint32_t finite = magnitude < 0x7f800000u ? least : bits;
  return static_cast<uint16_t>((magnitude > 0x7f800000u ? bits | 0x00400000u : finite) >> 16);
}

void round_stochastic(const float* x, uint16_t* to, uint64_t key, uint64_t first, int64_t count) {
  const uint32_t inner = static_cast<uint32_t>(key), outer = static_cast<uint32_t>(key >> 32);
  at::parallel_for(0, (count + 4095) / 4096, 4, [&](int64_t begin, int64_t end) {
    int64_t at = begin * 4096;
    const int64_t stop = std::min(count, end * 4096);
    while (at < stop) {
      // As far as the upper half of the element number stays the same.
      const uint64_t element = first + static_cast<uint64_t>(at);
      const uint64_t left = (1ull << 32) - (element & 0xffffffffull);
      const int64_t n = static_cast<int64_t>(std::min<uint64_t>(left, static_cast<uint64_t>(stop - at)));
      const uint32_t low = static_cast<uint32_t>(element);
      const uint32_t turn = outer ^ mixed(static_cast<uint32_t>(element >> 32));
      const float* __restrict in = x + at;
      uint16_t* __restrict out = to + at;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        out[i] = rounded(in[i], mixed(mixed((low + static_cast<uint32_t>(i)) ^ inner) ^ turn));
      }
      at += n;
    }
  });
}

// ---- norms -------------------------------------------------------------------------------------------------------

double squared_sum(const float* x, int64_t count) {
  constexpr int64_t block = 1 << 15;
  const int64_t blocks = (count + block - 1) / block;
  std::vector<double> partials(blocks, 0.0);
  at::parallel_for(0, blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      double sum = 0;
      const int64_t end = std::min(count, (b + 1) * block);
      // Short runs in fp32 keep the vector units busy; their sums are exact enough to add in double precision.
      for (int64_t i = b * block; i < end; i += 512) {
        Vec run(0.f);
        for (int64_t j = i; j < std::min(end, i + 512); j += kLanes) {
          const Vec value = load(x + j, std::min(kLanes, std::min(end, i + 512) - j));
          run = run + value * value;
        }
        sum += horizontal_sum(run);
      }
      partials[b] = sum;
    }
  });
  double sum = 0;
  for (double partial : partials) sum += partial;
  return sum;
}

}  // namespace

extern const OptimizerKernels PSANN_OPTIMIZER_KERNELS;
const OptimizerKernels PSANN_OPTIMIZER_KERNELS = {adamw,         adamw8bit,        squares,    factored_sum,
                                                  factored_move, round_stochastic, squared_sum};

}  // namespace psann
