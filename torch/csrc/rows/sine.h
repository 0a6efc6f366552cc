// The damped sine on rows.
#pragma once

#include "../kernels.h"
#include "vector.h"

namespace psann {
namespace {

// What leaves as bf16 needs no last bit of fp32: Sleef's sines with 3.5 units instead of 1 are a third cheaper.
template <typename Element>
constexpr bool kCoarse = std::is_same_v<Element, Half>;

template <bool coarse>
Vec sine_of(const Vec& x) {
#if defined(CPU_CAPABILITY_AVX512)
  if constexpr (coarse) return Vec(Sleef_sinf16_u35(x));
#elif defined(CPU_CAPABILITY_AVX2)
  if constexpr (coarse) return Vec(Sleef_sinf8_u35(x));
#endif
  return x.sin();
}

// sin and cos of x in one go: half the price of two calls.
template <bool coarse>
void sine_cosine(const Vec& x, Vec& sine, Vec& cosine) {
#if defined(CPU_CAPABILITY_AVX512)
  auto both = coarse ? Sleef_sincosf16_u35(x) : Sleef_sincosf16_u10(x);
  sine = Vec(both.x);
  cosine = Vec(both.y);
#elif defined(CPU_CAPABILITY_AVX2)
  auto both = coarse ? Sleef_sincosf8_u35(x) : Sleef_sincosf8_u10(x);
  sine = Vec(both.x);
  cosine = Vec(both.y);
#else
  sine = x.sin();
  cosine = x.cos();
#endif
}

template <Decay mode>
Vec envelope_argument(const Vec& z) {
  if constexpr (mode == Decay::Abs) return z.abs();
  if constexpr (mode == Decay::Relu) return at::vec::maximum(z, Vec(0.f));
  return Vec(0.f);
}

template <Decay mode, typename Element>
void sine_forward_rows(const Element* z, const float* amplitude, const float* frequency, const float* decay, Element* y,
                       int64_t begin, int64_t end, int64_t features) {
  for (int64_t row = begin; row < end; ++row) {
    const Element* in = z + row * features;
    Element* out = y + row * features;
    for (int64_t i = 0; i < features; i += kLanes) {
      const int64_t count = std::min(kLanes, features - i);
      const Vec x = load(in + i, count);
      Vec envelope = load(amplitude + i, count);
      if constexpr (mode != Decay::None) {
        envelope = envelope * (load(decay + i, count).neg() * envelope_argument<mode>(x)).exp();
      }
      store(envelope * sine_of<kCoarse<Element>>(load(frequency + i, count) * x), out + i, count);
    }
  }
}

template <typename Element>
void sine_forward(const Element* z, const float* amplitude, const float* frequency, const float* decay, Decay mode,
                  Element* y, int64_t rows, int64_t features) {
  at::parallel_for(0, rows, grain(features * 8), [&](int64_t begin, int64_t end) {
    switch (mode) {
      case Decay::Abs:
        return sine_forward_rows<Decay::Abs>(z, amplitude, frequency, decay, y, begin, end, features);
      case Decay::Relu:
        return sine_forward_rows<Decay::Relu>(z, amplitude, frequency, decay, y, begin, end, features);
      case Decay::None:
        return sine_forward_rows<Decay::None>(z, amplitude, frequency, decay, y, begin, end, features);
    }
  });
}

// One block of rows; `sums` [3, features] is added to.
template <Decay mode, typename Element>
void sine_backward_rows(const Element* z, const Element* output_gradient, const float* amplitude, const float* frequency,
                        const float* decay, Element* z_gradient, float* sums, Element* y, int64_t begin, int64_t end,
                        int64_t features) {
  for (int64_t i = 0; i < features; i += kLanes) {
    const int64_t count = std::min(kLanes, features - i);
    const Vec a = load(amplitude + i, count), f = load(frequency + i, count), d = load(decay + i, count);
    Vec sum_a(0.f), sum_f(0.f), sum_d(0.f);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * features + i;
      const Vec x = load(z + at, count), g = load(output_gradient + at, count);
      Vec sine, cosine;
      sine_cosine<kCoarse<Element>>(f * x, sine, cosine);
      const Vec argument = envelope_argument<mode>(x);
      Vec e(1.f);
      if constexpr (mode != Decay::None) e = (d.neg() * argument).exp();
      const Vec ge = g * e;
      const Vec age = a * ge;
      const Vec ages = age * sine;
      if (y != nullptr) store(a * e * sine, y + at, count);
      Vec slope = f * cosine;
      if constexpr (mode == Decay::Abs) {
        // sign(0) = 0
        const Vec sign = Vec::blendv(Vec(0.f), Vec(1.f), x > Vec(0.f)) - Vec::blendv(Vec(0.f), Vec(1.f), x < Vec(0.f));
        slope = slope - d * sign * sine;
      }
      if constexpr (mode == Decay::Relu) slope = slope - Vec::blendv(Vec(0.f), d * sine, x > Vec(0.f));
      store(age * slope, z_gradient + at, count);
      sum_a = sum_a + ge * sine;
      sum_f = sum_f + age * x * cosine;
      if constexpr (mode != Decay::None) sum_d = sum_d - argument * ages;
    }
    store(load(sums + i, count) + sum_a, sums + i, count);
    store(load(sums + features + i, count) + sum_f, sums + features + i, count);
    store(load(sums + 2 * features + i, count) + sum_d, sums + 2 * features + i, count);
  }
}

template <typename Element>
void sine_backward(const Element* z, const Element* output_gradient, const float* amplitude, const float* frequency,
                   const float* decay, Decay mode, Element* z_gradient, float* sums, Element* y, int64_t rows,
                   int64_t features) {
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  std::vector<float> partials(blocks * 3 * features, 0.f);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kRowBlock, end = std::min(rows, begin + kRowBlock);
      float* into = partials.data() + block * 3 * features;
      switch (mode) {
        case Decay::Abs:
          sine_backward_rows<Decay::Abs>(z, output_gradient, amplitude, frequency, decay, z_gradient, into, y, begin, end,
                                         features);
          break;
        case Decay::Relu:
          sine_backward_rows<Decay::Relu>(z, output_gradient, amplitude, frequency, decay, z_gradient, into, y, begin, end,
                                          features);
          break;
        case Decay::None:
          sine_backward_rows<Decay::None>(z, output_gradient, amplitude, frequency, decay, z_gradient, into, y, begin, end,
                                          features);
          break;
      }
    }
  });
  add_partials(partials, blocks, 3 * features, sums);
}

}  // namespace
}  // namespace psann
