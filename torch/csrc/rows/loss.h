// Cross-entropy in place, and the gradient of an embedding.
#pragma once

#include <limits>
#include <tuple>

#include "vector.h"

namespace psann {
namespace {

// One row of fp32 logits with a label; gives the loss without smoothing and with it.
inline std::pair<float, float> cross_entropy_row(float* line, int64_t label, float smoothing, float scale, bool gradient,
                                                 int64_t classes) {
  Vec top(-std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= classes; i += kLanes) top = at::vec::maximum(top, Vec::loadu(line + i));
  float most = -std::numeric_limits<float>::infinity();
  alignas(64) float lanes[kLanes];
  top.store(lanes);
  // NaN must survive: a loss that is no number has to be seen, not hidden by a comparison.
  for (int64_t lane = 0; lane < kLanes; ++lane) most = lanes[lane] > most || lanes[lane] != lanes[lane] ? lanes[lane] : most;
  for (; i < classes; ++i) most = line[i] > most || line[i] != line[i] ? line[i] : most;
  const float chosen = line[label];
  double plain_sum = 0;
  if (smoothing > 0) {
    for (int64_t j = 0; j < classes; ++j) plain_sum += line[j];
  }
  Vec total(0.f);
  float rest = 0;
  const Vec shift(most);
  for (i = 0; i + kLanes <= classes; i += kLanes) {
    const Vec e = (Vec::loadu(line + i) - shift).exp();
    if (gradient) e.store(line + i);
    total = total + e;
  }
  for (; i < classes; ++i) {
    const float e = std::exp(line[i] - most);
    if (gradient) line[i] = e;
    rest += e;
  }
  const float sum = horizontal_sum(total) + rest;
  const float log_sum = most + std::log(sum);
  const float plain = log_sum - chosen;
  const float smooth = smoothing > 0 ? (1 - smoothing) * plain +
                                           smoothing * (log_sum - static_cast<float>(plain_sum / classes))
                                     : plain;
  if (gradient) {
    const float factor = scale / sum;
    const float even = scale * smoothing / static_cast<float>(classes);
    const Vec vector_factor(factor), vector_even(even);
    for (i = 0; i + kLanes <= classes; i += kLanes) {
      (Vec::loadu(line + i) * vector_factor - vector_even).store(line + i);
    }
    for (; i < classes; ++i) line[i] = line[i] * factor - even;
    line[label] -= scale * (1 - smoothing);
  }
  return {plain, smooth};
}

template <typename Element>
void cross_entropy(Element* logits, const int64_t* labels, float smoothing, float scale, bool gradient, float* losses,
                   float* smooth, int64_t rows, int64_t classes) {
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    // A row of bf16 is widened once: it stays in the cache, and nothing is rounded but the result.
    std::vector<float> wide(std::is_same_v<Element, float> ? 0 : classes);
    for (int64_t row = begin; row < end; ++row) {
      Element* line = logits + row * classes;
      if (labels[row] < 0) {
        losses[row] = smooth[row] = 0.f;
        if (gradient) std::memset(static_cast<void*>(line), 0, classes * sizeof(Element));
        continue;
      }
      if constexpr (std::is_same_v<Element, float>) {
        std::tie(losses[row], smooth[row]) = cross_entropy_row(line, labels[row], smoothing, scale, gradient, classes);
      } else {
        for (int64_t i = 0; i < classes; i += kLanes) {
          const int64_t count = std::min(kLanes, classes - i);
          store(load(line + i, count), wide.data() + i, count);
        }
        std::tie(losses[row], smooth[row]) =
            cross_entropy_row(wide.data(), labels[row], smoothing, scale, gradient, classes);
        if (!gradient) continue;
        for (int64_t i = 0; i < classes; i += kLanes) {
          const int64_t count = std::min(kLanes, classes - i);
          store(load(wide.data() + i, count), line + i, count);
        }
      }
    }
  });
}

template <typename Element>
void embedding_backward(const Element* output_gradient, const int64_t* ids, float* gradient, int64_t count,
                        int64_t width) {
  // Threads share columns, not rows: each sum runs over the rows in their order.
  const int64_t strips = (width + 63) / 64;
  at::parallel_for(0, strips, 1, [&](int64_t first, int64_t last) {
    const int64_t begin = first * 64, end = std::min(width, last * 64);
    for (int64_t row = 0; row < count; ++row) {
      const Element* from = output_gradient + row * width;
      float* to = gradient + ids[row] * width;
      for (int64_t i = begin; i < end; i += kLanes) {
        const int64_t n = std::min(kLanes, end - i);
        store(load(to + i, n) + load(from + i, n), to + i, n);
      }
    }
  });
}

}  // namespace
}  // namespace psann
