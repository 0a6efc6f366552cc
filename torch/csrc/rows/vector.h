// Vectors of fp32 over fp32 or bf16 memory, and sums over rows: what the kernels of one instruction set share.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

namespace psann {
// Everything has internal linkage: three units hold the same names.
namespace {

using Half = c10::BFloat16;
using Vec = at::vec::Vectorized<float>;
constexpr int64_t kLanes = Vec::size();
// Rows that are summed together before their sum joins the others; fixed, so that sums do not depend on threads.
constexpr int64_t kRowBlock = 32;

inline Vec load(const float* from, int64_t count) {
  return count >= kLanes ? Vec::loadu(from) : Vec::loadu(from, count);
}

inline void store(const Vec& value, float* to, int64_t count) {
  if (count >= kLanes) {
    value.store(to);
  } else {
    value.store(to, static_cast<int>(count));
  }
}

inline Vec load(const Half* from, int64_t count) {
  alignas(64) Half rest[kLanes] = {};
  if (count < kLanes) {
    std::memcpy(rest, from, count * sizeof(Half));
    from = rest;
  }
  Vec value;
  at::vec::load_fp32_from_bf16(from, value);
  return value;
}

// Rounds to the nearest, ties to even.
inline void store(const Vec& value, Half* to, int64_t count) {
  alignas(64) Half rest[kLanes];
  Half* into = count >= kLanes ? to : rest;
#if defined(CPU_CAPABILITY_AVX512)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(into), at::vec::cvtfp32_bf16(value));
#elif defined(CPU_CAPABILITY_AVX2)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(into), at::vec::cvtfp32_bf16(value));
#else
  alignas(64) float lanes[kLanes];
  value.store(lanes);
  for (int64_t i = 0; i < kLanes; ++i) into[i] = lanes[i];
#endif
  if (count < kLanes) std::memcpy(to, rest, count * sizeof(Half));
}

inline int64_t grain(int64_t work_per_item) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, work_per_item));
}

inline float horizontal_sum(const Vec& value) {
  alignas(64) float lanes[kLanes];
  value.store(lanes);
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

// Adds the partial sums of all blocks in order, in double precision.
inline void add_partials(const std::vector<float>& partials, int64_t blocks, int64_t width, float* sums) {
  at::parallel_for(0, width, grain(blocks), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (int64_t block = 0; block < blocks; ++block) sum += partials[block * width + i];
      sums[i] = static_cast<float>(sum);
    }
  });
}

}  // namespace
}  // namespace psann
