// Sums over the lanes of several vectors at once: a dot product ends in one, and one at a time they cost more than the
// multiplications.
#pragma once

#include "vector.h"

namespace psann {
namespace {

// Lane i of the result is the sum of all lanes of parts[i]. All parts are added up in the same order.
inline Vec lane_sums(const Vec* parts) {
#if defined(CPU_CAPABILITY_AVX512)
  __m512 pairs[8], quads[4];
  for (int i = 0; i < 8; ++i) {
    const __m512 a = parts[2 * i], b = parts[2 * i + 1];
    pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
    quads[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const auto halves = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  };
  const __m512 low = halves(quads[0], quads[1]), high = halves(quads[2], quads[3]);
  return _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd));
#elif defined(CPU_CAPABILITY_AVX2)
  __m256 quads[2];
  for (int i = 0; i < 2; ++i) {
    const __m256 ab = _mm256_hadd_ps(parts[4 * i], parts[4 * i + 1]);
    const __m256 cd = _mm256_hadd_ps(parts[4 * i + 2], parts[4 * i + 3]);
    quads[i] = _mm256_hadd_ps(ab, cd);
  }
  return _mm256_add_ps(_mm256_permute2f128_ps(quads[0], quads[1], 0x20),
                       _mm256_permute2f128_ps(quads[0], quads[1], 0x31));
#else
  alignas(64) float sums[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) sums[i] = horizontal_sum(parts[i]);
  return Vec::loadu(sums);
#endif
}

}  // namespace
}  // namespace psann
