// Activations that ATen computes with one formula inside of a vector and with another behind the last whole one: here
// a value's bits do not depend on where it stands.
#pragma once

#include "vector.h"

namespace psann {
namespace {

template <typename Formula>
void by_rows(int64_t rows, int64_t width, Formula&& formula) {
  at::parallel_for(0, rows, grain(width * 8), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t i = 0; i < width; i += kLanes) formula(row * width + i, std::min(kLanes, width - i));
    }
  });
}

void swiglu(const float* gate, const float* up, float* y, int64_t rows, int64_t width) {
  by_rows(rows, width, [&](int64_t at, int64_t count) {
    const Vec g = load(gate + at, count);
    store(g / (Vec(1.f) + g.neg().exp()) * load(up + at, count), y + at, count);
  });
}

void gelu(const float* x, float* y, int64_t rows, int64_t width) {
  by_rows(rows, width, [&](int64_t at, int64_t count) {
    const Vec value = load(x + at, count);
    store(value * Vec(0.5f) * (Vec(1.f) + (value * Vec(0.70710678118654752f)).erf()), y + at, count);
  });
}

}  // namespace
}  // namespace psann
