// RMS norm and the residual stream on rows.
#pragma once

#include "vector.h"

namespace psann {
namespace {

template <typename Element>
void rms_forward(const Element* x, const float* scale, float eps, Element* y, float* inverse, int64_t rows,
                 int64_t width) {
  at::parallel_for(0, rows, grain(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Element* in = x + row * width;
      Vec squares(0.f);
      for (int64_t i = 0; i < width; i += kLanes) {
        const Vec value = load(in + i, std::min(kLanes, width - i));
        squares = squares + value * value;
      }
      const float r = 1.f / std::sqrt(horizontal_sum(squares) / static_cast<float>(width) + eps);
      inverse[row] = r;
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t count = std::min(kLanes, width - i);
        store(load(in + i, count) * (load(scale + i, count) * Vec(r)), y + row * width + i, count);
      }
    }
  });
}

template <typename Element>
void rms_backward(const Element* x, const float* scale, const float* inverse, const Element* output_gradient,
                  Element* x_gradient, float* scale_gradient, int64_t rows, int64_t width) {
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  std::vector<float> partials(blocks * width, 0.f);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      float* into = partials.data() + block * width;
      const int64_t end = std::min(rows, (block + 1) * kRowBlock);
      for (int64_t row = block * kRowBlock; row < end; ++row) {
        const Element* in = x + row * width;
        const Element* g = output_gradient + row * width;
        const float r = inverse[row];
        Vec dot(0.f);
        for (int64_t i = 0; i < width; i += kLanes) {
          const int64_t count = std::min(kLanes, width - i);
          const Vec gx = load(g + i, count) * load(in + i, count);
          dot = dot + gx * load(scale + i, count);
          store(load(into + i, count) + gx * Vec(r), into + i, count);
        }
        const float along = horizontal_sum(dot) * r * r * r / static_cast<float>(width);
        for (int64_t i = 0; i < width; i += kLanes) {
          const int64_t count = std::min(kLanes, width - i);
          const Vec across = load(g + i, count) * load(scale + i, count) * Vec(r);
          store(across - load(in + i, count) * Vec(along), x_gradient + row * width + i, count);
        }
      }
    }
  });
  add_partials(partials, blocks, width, scale_gradient);
}

template <typename Element>
void scaled_add(const Element* x, const Element* m, float factor, Element* y, int64_t count) {
  at::parallel_for(0, (count + 4095) / 4096, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * 4096; i < std::min(count, end * 4096); i += kLanes) {
      const int64_t n = std::min(kLanes, count - i);
      store(load(x + i, n) + load(m + i, n) * Vec(factor), y + i, n);
    }
  });
}

template <typename Element>
float scaled_add_backward(const Element* output_gradient, const Element* m, float factor, Element* m_gradient,
                          int64_t count) {
  const int64_t blocks = (count + 4095) / 4096;
  std::vector<float> partials(blocks, 0.f);
  at::parallel_for(0, blocks, 4, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      Vec dot(0.f);
      for (int64_t i = block * 4096; i < std::min(count, (block + 1) * 4096); i += kLanes) {
        const int64_t n = std::min(kLanes, count - i);
        const Vec g = load(output_gradient + i, n);
        dot = dot + g * load(m + i, n);
        store(g * Vec(factor), m_gradient + i, n);
      }
      partials[block] = horizontal_sum(dot);
    }
  });
  double sum = 0;
  for (float partial : partials) sum += partial;
  return static_cast<float>(sum);
}

// Column sums of x [rows, width].
template <typename Element>
void column_sums(const Element* x, float* sums, int64_t rows, int64_t width) {
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  std::vector<float> partials(blocks * width, 0.f);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kRowBlock, end = std::min(rows, begin + kRowBlock);
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t count = std::min(kLanes, width - i);
        Vec sum(0.f);
        for (int64_t row = begin; row < end; ++row) sum = sum + load(x + row * width + i, count);
        store(sum, partials.data() + block * width + i, count);
      }
    }
  });
  add_partials(partials, blocks, width, sums);
}

}  // namespace
}  // namespace psann
