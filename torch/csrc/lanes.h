// Several numbers at once, as wide as one instruction set's registers: GCC's vector types, and intrinsics where those
// have no operator or compile badly. For kernels that mix fp32, fp64 and integers, which neither ATen's vectors nor the
// compiler's own vectoriser do well.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
#include <immintrin.h>
#endif

namespace psann {
// Internal linkage, as units for several instruction sets hold the same names.
namespace {

#if defined(CPU_CAPABILITY_AVX512)
constexpr int kWidth = 16;
#elif defined(CPU_CAPABILITY_AVX2)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef int32_t Ints __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Unsigned __attribute__((vector_size(4 * kWidth)));
typedef double Half __attribute__((vector_size(4 * kWidth)));

// kWidth doubles take two registers.
struct Doubles {
  Half low, high;
};

inline Doubles operator+(Doubles a, Doubles b) { return {a.low + b.low, a.high + b.high}; }
inline Doubles operator*(Doubles a, Doubles b) { return {a.low * b.low, a.high * b.high}; }
inline Doubles operator*(Doubles a, double b) { return {a.low * b, a.high * b}; }

template <typename V, typename T>
inline V read(const T* from) {
  static_assert(sizeof(V) == kWidth * sizeof(T));
  V value;
  std::memcpy(&value, from, sizeof(V));
  return value;
}

template <typename V, typename T>
inline void write(V value, T* to) {
  static_assert(sizeof(V) == kWidth * sizeof(T));
  std::memcpy(to, &value, sizeof(V));
}

inline Ints bits_of(Floats x) { return reinterpret_cast<Ints>(x); }
inline Floats of_bits(Ints x) { return reinterpret_cast<Floats>(x); }

#if defined(CPU_CAPABILITY_AVX512)

inline Doubles read_widened(const float* from) {
  return {reinterpret_cast<Half>(_mm512_cvtps_pd(_mm256_loadu_ps(from))),
          reinterpret_cast<Half>(_mm512_cvtps_pd(_mm256_loadu_ps(from + 8)))};
}

// Entries of a table, one byte each.
inline Doubles looked_up(const double* table, const uint8_t* at) {
  const auto half = [&](const uint8_t* bytes) {
    const __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
    return reinterpret_cast<Half>(_mm512_i32gather_pd(places, table, 8));
  };
  return {half(at), half(at + 8)};
}

inline Floats narrowed(Doubles x) {
  const __m256 low = _mm512_cvtpd_ps(reinterpret_cast<__m512d>(x.low));
  const __m256 high = _mm512_cvtpd_ps(reinterpret_cast<__m512d>(x.high));
  return reinterpret_cast<Floats>(_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1));
}

inline Half magnitude(Half x) { return reinterpret_cast<Half>(_mm512_abs_pd(reinterpret_cast<__m512d>(x))); }

inline Half greater(Half a, Half b) {
  return reinterpret_cast<Half>(_mm512_max_pd(reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b)));
}

inline Floats root(Floats x) { return reinterpret_cast<Floats>(_mm512_sqrt_ps(reinterpret_cast<__m512>(x))); }

inline Ints greater(Ints a, Ints b) {
  return reinterpret_cast<Ints>(_mm512_max_epi32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

inline Ints lesser(Ints a, Ints b) {
  return reinterpret_cast<Ints>(_mm512_min_epi32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

inline Floats gathered(const float* from, Ints at) {
  return reinterpret_cast<Floats>(_mm512_i32gather_ps(reinterpret_cast<__m512i>(at), from, 4));
}

inline void write_bytes(Ints value, uint8_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(value)));
}

// One bit per lane where a <= b, both taken as unsigned.
inline uint32_t where_at_most(Ints a, Ints b) {
  return _mm512_cmple_epu32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
}

#elif defined(CPU_CAPABILITY_AVX2)

inline Doubles read_widened(const float* from) {
  return {reinterpret_cast<Half>(_mm256_cvtps_pd(_mm_loadu_ps(from))),
          reinterpret_cast<Half>(_mm256_cvtps_pd(_mm_loadu_ps(from + 4)))};
}

inline Doubles looked_up(const double* table, const uint8_t* at) {
  const auto half = [&](const uint8_t* bytes) {
    int32_t four;
    std::memcpy(&four, bytes, sizeof(four));
    return reinterpret_cast<Half>(_mm256_i32gather_pd(table, _mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)), 8));
  };
  return {half(at), half(at + 4)};
}

inline Floats narrowed(Doubles x) {
  const __m128 low = _mm256_cvtpd_ps(reinterpret_cast<__m256d>(x.low));
  const __m128 high = _mm256_cvtpd_ps(reinterpret_cast<__m256d>(x.high));
  return reinterpret_cast<Floats>(_mm256_set_m128(high, low));
}

inline Half magnitude(Half x) {
  return reinterpret_cast<Half>(_mm256_andnot_pd(_mm256_set1_pd(-0.0), reinterpret_cast<__m256d>(x)));
}

inline Half greater(Half a, Half b) {
  return reinterpret_cast<Half>(_mm256_max_pd(reinterpret_cast<__m256d>(a), reinterpret_cast<__m256d>(b)));
}

inline Floats root(Floats x) { return reinterpret_cast<Floats>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x))); }

inline Ints greater(Ints a, Ints b) {
  return reinterpret_cast<Ints>(_mm256_max_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

inline Ints lesser(Ints a, Ints b) {
  return reinterpret_cast<Ints>(_mm256_min_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

inline Floats gathered(const float* from, Ints at) {
  return reinterpret_cast<Floats>(_mm256_i32gather_ps(from, reinterpret_cast<__m256i>(at), 4));
}

inline void write_bytes(Ints value, uint8_t* to) {
  const __m256i v = reinterpret_cast<__m256i>(value);
  const __m128i shorts = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(shorts, shorts));
}

inline uint32_t where_at_most(Ints a, Ints b) {
  const __m256i x = reinterpret_cast<__m256i>(a), limit = reinterpret_cast<__m256i>(b);
  return _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_min_epu32(x, limit), x)));
}

#else

inline Doubles read_widened(const float* from) { return {Half{from[0], from[1]}, Half{from[2], from[3]}}; }

inline Doubles looked_up(const double* table, const uint8_t* at) {
  return {Half{table[at[0]], table[at[1]]}, Half{table[at[2]], table[at[3]]}};
}

inline Floats narrowed(Doubles x) {
  return Floats{static_cast<float>(x.low[0]), static_cast<float>(x.low[1]), static_cast<float>(x.high[0]),
                static_cast<float>(x.high[1])};
}

inline Half magnitude(Half x) { return Half{std::fabs(x[0]), std::fabs(x[1])}; }
inline Half greater(Half a, Half b) { return a > b ? a : b; }
inline Floats root(Floats x) { return Floats{std::sqrt(x[0]), std::sqrt(x[1]), std::sqrt(x[2]), std::sqrt(x[3])}; }
inline Ints greater(Ints a, Ints b) { return a > b ? a : b; }
inline Ints lesser(Ints a, Ints b) { return a < b ? a : b; }
inline Floats gathered(const float* from, Ints at) { return Floats{from[at[0]], from[at[1]], from[at[2]], from[at[3]]}; }

inline void write_bytes(Ints value, uint8_t* to) {
  for (int i = 0; i < kWidth; ++i) to[i] = static_cast<uint8_t>(value[i]);
}

inline uint32_t where_at_most(Ints a, Ints b) {
  uint32_t found = 0;
  for (int i = 0; i < kWidth; ++i) found |= uint32_t(uint32_t(a[i]) <= uint32_t(b[i])) << i;
  return found;
}

#endif

inline Ints gathered(const uint32_t* from, Ints at) { return bits_of(gathered(reinterpret_cast<const float*>(from), at)); }

inline Ints shifted_down(Ints x, int by) { return reinterpret_cast<Ints>(reinterpret_cast<Unsigned>(x) >> by); }

inline bool is_zero(Floats x) {
  bool zero = true;
  for (int i = 0; i < kWidth; ++i) zero &= x[i] == 0;
  return zero;
}

inline double greatest(Half x) {
#if defined(CPU_CAPABILITY_AVX512)
  return _mm512_reduce_max_pd(reinterpret_cast<__m512d>(x));
#else
  double most = x[0];
  for (int i = 1; i < kWidth / 2; ++i) most = x[i] > most ? x[i] : most;
  return most;
#endif
}

}  // namespace
}  // namespace psann
