// Rotary positions on rows of heads.
#pragma once

#include "vector.h"

namespace psann {
namespace {

// A pair of neighbours in memory, as two fp32.
inline void load_pair(const float* from, float& first, float& second) {
  first = from[0];
  second = from[1];
}

inline void store_pair(float first, float second, float* to) {
  to[0] = first;
  to[1] = second;
}

// Both halves of one word at once, which compilers turn into vector code.
inline void load_pair(const Half* from, float& first, float& second) {
  uint32_t both;
  std::memcpy(&both, from, sizeof(both));
  const uint32_t low = both << 16, high = both & 0xffff0000u;
  std::memcpy(&first, &low, sizeof(first));
  std::memcpy(&second, &high, sizeof(second));
}

// The upper half of x, rounded to nearest even; NaN stays one.
inline uint32_t rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
  return x == x ? nearest : 0xffff0000u;
}

inline void store_pair(float first, float second, Half* to) {
  const uint32_t both = (rounded(first) >> 16) | (rounded(second) & 0xffff0000u);
  std::memcpy(to, &both, sizeof(both));
}

template <typename Element>
void rotate(const Element* x, int64_t row_stride, int64_t head_stride, const float* cosine, const float* sine,
            int64_t table_rows, float direction, bool halves, Element* y, int64_t rows, int64_t heads, int64_t size) {
  const int64_t half = size / 2;
  at::parallel_for(0, rows, grain(heads * size), [&](int64_t begin, int64_t end) {
    std::vector<float> turned(half);
    for (int64_t row = begin; row < end; ++row) {
      const float* c = cosine + (row % table_rows) * half;
      const float* s = sine + (row % table_rows) * half;
      for (int64_t i = 0; i < half; ++i) turned[i] = direction * s[i];
      for (int64_t head = 0; head < heads; ++head) {
        const Element* in = x + row * row_stride + head * head_stride;
        Element* out = y + (row * heads + head) * size;
        if (halves) {
          for (int64_t i = 0; i < half; ++i) {
            const float a = static_cast<float>(in[i]), b = static_cast<float>(in[i + half]);
            out[i] = static_cast<Element>(a * c[i] - b * turned[i]);
            out[i + half] = static_cast<Element>(b * c[i] + a * turned[i]);
          }
          continue;
        }
        for (int64_t i = 0; i < half; ++i) {
          float a, b;
          load_pair(in + 2 * i, a, b);
          store_pair(a * c[i] - b * turned[i], b * c[i] + a * turned[i], out + 2 * i);
        }
      }
    }
  });
}

}  // namespace
}  // namespace psann
