// See optimizer_kernels.h. Compiled once per instruction set; PSANN_OPTIMIZER_KERNELS names the table of this unit.

#include "optimizer_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "lanes.h"

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

// Elements that are fetched before they are needed: a block is too much work for the processor to look past it.
constexpr int64_t kAhead = 512;
constexpr double kMostFloat = 0x1.fffffep127;

// The places of the values nearest to `x`, which is at most 1 in magnitude, counted from zero. fp32 decides unless x is
// next to a midpoint; then the same number in fp64 does, `values` times `by`.
inline Ints nearest(Floats x, const double* values, double by, const CodeMap& map) {
  constexpr int32_t low = (1 << kBinShift) - 1;
  const Ints bits = greater(bits_of(x) & 0x7fffffff, Ints{} + kLeastBits);
  const Ints bin = gathered(map.bins - kFirstBin, bits >> kBinShift);
  const Ints behind = (bits & low) - (bin & low);
  const Ints from = shifted_down(bin, 24);
  // A comparison gives -1.
  Ints place = from - (behind > 0);
  if (const uint32_t unsure = where_at_most(behind, Ints{} + 1); unsure != 0) [[unlikely]] {
    for (int i = 0; i < kWidth; ++i) {
      if ((unsure >> i & 1) != 0) place[i] = from[i] + (std::fabs(values[i] * by) > map.midpoints[from[i]] ? 1 : 0);
    }
  }
  return place;
}

// The state of a block, or of all blocks.
struct Codes {
  uint8_t *first, *second;
  float *first_scale, *second_scale;
};

// Scales come from files; one that no step leaves counts as none. So no quotient below exceeds 1.
inline double sound_scale(float scale) { return scale >= 0 && scale <= kMostFloat ? scale : 0.0; }

// One block of kCodeBlock elements. Moments are fp64 between two roundings to codes: gradients often have few bits, so
// their quotients crowd around midpoints, and which side they fall on must not be a matter of fp32's last place. Does
// nothing and gives false when a gradient is no number, or fp32 cannot hold its square.
template <bool decay_after>
bool adamw8bit_block(float* value, const float* gradient, Codes codes, const CodeMap& signed_map,
                     const CodeMap& unsigned_map, const Adam8bit& s) {
  alignas(64) double m[kCodeBlock], v[kCodeBlock];
  const double keep_first = s.beta1 * sound_scale(*codes.first_scale);
  const double keep_second = s.beta2 * sound_scale(*codes.second_scale);
  Half most_first{}, most_second{};
  Floats nothing{};
  for (int64_t i = 0; i < kCodeBlock; i += kWidth) {
    __builtin_prefetch(gradient + i + kAhead);
    __builtin_prefetch(value + i + kAhead, 1);
    __builtin_prefetch(codes.first + i + kAhead, 1);
    __builtin_prefetch(codes.second + i + kAhead, 1);
    const Doubles g = read_widened(gradient + i);
    const Doubles first = looked_up(signed_map.values, codes.first + i) * keep_first + g * s.first_share;
    const Doubles second = looked_up(unsigned_map.values, codes.second + i) * keep_second + g * s.second_share * g;
    write(first, m + i);
    write(second, v + i);
    most_first = greater(greater(magnitude(first.low), magnitude(first.high)), most_first);
    most_second = greater(greater(second.low, second.high), most_second);
    // Stays zero until something is no number; a maximum may lose such a thing.
    nothing = read<Floats>(gradient + i) * 0.f + nothing;
  }
  const double first_most = greatest(most_first), second_most = greatest(most_second);
  if (!is_zero(nothing) || second_most > kMostFloat) [[unlikely]] return false;
  const double by_first = first_most > 0 ? 1 / first_most : 1, by_second = second_most > 0 ? 1 / second_most : 1;
  *codes.first_scale = static_cast<float>(first_most);
  *codes.second_scale = static_cast<float>(second_most);
  const float rate = static_cast<float>(s.rate * first_most), spread = static_cast<float>(std::sqrt(second_most));
  for (int64_t i = 0; i < kCodeBlock; i += kWidth) {
    const Floats x = narrowed(read<Doubles>(m + i) * by_first), y = narrowed(read<Doubles>(v + i) * by_second);
    const Ints place = nearest(x, m + i, by_first, signed_map);
    // -1 has no code of its own, and what is below zero never becomes zero.
    const Ints below = Ints{} - greater(lesser(place, Ints{} + 127), Ints{} + 1);
    write_bytes(127 + (bits_of(x) < 0 ? below : place), codes.first + i);
    write_bytes(nearest(y, v + i, by_second, unsigned_map), codes.second + i);
    const Floats old = read<Floats>(value + i);
    const Floats step = rate * x / (spread * root(y) + s.eps);
    write(decay_after ? (old - step) * s.decay : old * s.decay - step, value + i);
  }
  return true;
}

// A block with gradients that are no numbers: their elements lose their moments and stay where they are.
template <bool decay_after>
void adamw8bit_around_odd_gradients(float* value, const float* gradient, Codes codes, const CodeMap& signed_map,
                                    const CodeMap& unsigned_map, const Adam8bit& s) {
  float before[kCodeBlock], given[kCodeBlock];
  bool sound[kCodeBlock];
  std::memcpy(before, value, sizeof(before));
  for (int64_t i = 0; i < kCodeBlock; ++i) {
    const double old = unsigned_map.values[codes.second[i]] * (s.beta2 * sound_scale(*codes.second_scale));
    sound[i] = old + s.second_share * gradient[i] * gradient[i] <= kMostFloat;
    given[i] = sound[i] ? gradient[i] : 0.f;
    if (!sound[i]) {
      codes.first[i] = 127;
      codes.second[i] = 0;
    }
  }
  adamw8bit_block<decay_after>(value, given, codes, signed_map, unsigned_map, s);
  for (int64_t i = 0; i < kCodeBlock; ++i) value[i] = sound[i] ? value[i] : before[i];
}

template <bool decay_after>
void adamw8bit_blocks(float* value, const float* gradient, Codes codes, const CodeMap& signed_map,
                      const CodeMap& unsigned_map, const Adam8bit& s, int64_t begin, int64_t end, int64_t count) {
  const auto step = [&](float* values, const float* gradients, Codes part) {
    if (!adamw8bit_block<decay_after>(values, gradients, part, signed_map, unsigned_map, s)) {
      adamw8bit_around_odd_gradients<decay_after>(values, gradients, part, signed_map, unsigned_map, s);
    }
  };
  for (int64_t block = begin; block < end; ++block) {
    const int64_t at = block * kCodeBlock, n = std::min(kCodeBlock, count - at);
    const Codes part{codes.first + at, codes.second + at, codes.first_scale + block, codes.second_scale + block};
    if (n == kCodeBlock) {
      step(value + at, gradient + at, part);
      continue;
    }
    // The same arithmetic for a block that ends early: what is behind it has zero state and gradient.
    alignas(64) float values[kCodeBlock] = {}, gradients[kCodeBlock] = {};
    alignas(64) uint8_t firsts[kCodeBlock], seconds[kCodeBlock] = {};
    std::memset(firsts, 127, sizeof(firsts));
    std::memcpy(values, value + at, n * sizeof(float));
    std::memcpy(gradients, gradient + at, n * sizeof(float));
    std::memcpy(firsts, part.first, n);
    std::memcpy(seconds, part.second, n);
    step(values, gradients, {firsts, seconds, part.first_scale, part.second_scale});
    std::memcpy(value + at, values, n * sizeof(float));
    std::memcpy(part.first, firsts, n);
    std::memcpy(part.second, seconds, n);
  }
}

void adamw8bit(float* value, const float* gradient, uint8_t* first, float* first_scale, uint8_t* second,
               float* second_scale, CodeMap signed_map, CodeMap unsigned_map, Adam8bit s, bool decay_after,
               int64_t count) {
  const Codes codes{first, second, first_scale, second_scale};
  at::parallel_for(0, (count + kCodeBlock - 1) / kCodeBlock, 64, [&](int64_t begin, int64_t end) {
    if (decay_after) {
      adamw8bit_blocks<true>(value, gradient, codes, signed_map, unsigned_map, s, begin, end, count);
    } else {
      adamw8bit_blocks<false>(value, gradient, codes, signed_map, unsigned_map, s, begin, end, count);
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
