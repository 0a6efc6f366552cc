// Causal attention of tokens to the keys and values of their own sequences.
//
// A query meets its keys in the order of their positions, in blocks that begin at multiples of a fixed number, with the
// running maximum and sum of Milakov and Gimelshein 2018 (arXiv:1805.02867). Where the keys are stored, and which other
// queries are computed, plays no part in it.
#pragma once

#include "../inference_kernels.h"
#include "lane_sums.h"

namespace psann {
namespace {

constexpr int64_t kKeyBlock = 64;
// Features of a head that stay in registers while values are added up.
constexpr int kValueVectors = 4;

struct KeyRows {
  const float* keys[kKeyBlock];
  const float* values[kKeyBlock];
};

// The rows of one head's keys and values from position `first` on.
inline void find_rows(const AttentionRun& run, int64_t first, int64_t count, int64_t stride, int64_t offset,
                      KeyRows& rows) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t position = first + i;
    const bool head = position < run.head_rows;
    const int64_t at = (head ? position : position - run.head_rows) * stride + offset;
    rows.keys[i] = (head ? run.head_keys : run.tail_keys) + at;
    rows.values[i] = (head ? run.head_values : run.tail_values) + at;
  }
}

// Scores of one query with `count` keys; those behind them are minus infinity.
inline void scores_of(const float* q, const KeyRows& rows, int64_t count, const AttentionShape& shape, float* scores) {
  for (int64_t first = 0; first < kKeyBlock; first += kLanes) {
    if (first >= count) {
      Vec(-INFINITY).store(scores + first);
      continue;
    }
    Vec sums[kLanes];
    for (Vec& sum : sums) sum = Vec(0.f);
    const int64_t keys = std::min(kLanes, count - first);
    for (int64_t d = 0; d < shape.size; d += kLanes) {
      const int64_t width = std::min(kLanes, shape.size - d);
      const Vec value = load(q + d, width);
      for (int64_t i = 0; i < keys; ++i) sums[i] = at::vec::fmadd(value, load(rows.keys[first + i] + d, width), sums[i]);
    }
    (lane_sums(sums) * Vec(shape.scale)).store(scores + first);
    for (int64_t i = keys; i < kLanes; ++i) scores[first + i] = -INFINITY;
  }
}

// y = y * factor + the values weighted; even and odd keys are summed apart, so that additions need not wait.
inline void add_values(const float* weights, const KeyRows& rows, int64_t count, float factor, int64_t size, float* y) {
  for (int64_t d = 0; d < size; d += kValueVectors * kLanes) {
    const int64_t left = size - d;
    const int vectors = static_cast<int>(std::min<int64_t>(kValueVectors, (left + kLanes - 1) / kLanes));
    Vec even[kValueVectors], odd[kValueVectors];
    for (int v = 0; v < kValueVectors; ++v) even[v] = odd[v] = Vec(0.f);
    const auto add = [&](Vec* sums, int64_t key) {
      const Vec weight(weights[key]);
      for (int v = 0; v < vectors; ++v) {
        sums[v] = at::vec::fmadd(weight, load(rows.values[key] + d + v * kLanes, left - v * kLanes), sums[v]);
      }
    };
    int64_t key = 0;
    for (; key + 2 <= count; key += 2) {
      add(even, key);
      add(odd, key + 1);
    }
    if (key < count) add(even, key);
    for (int v = 0; v < vectors; ++v) {
      float* to = y + d + v * kLanes;
      const int64_t width = left - v * kLanes;
      store(at::vec::fmadd(load(to, width), Vec(factor), even[v] + odd[v]), to, width);
    }
  }
}

inline float largest(const float* values) {
  float most = values[0];
  for (int64_t i = 1; i < kKeyBlock; ++i) most = std::max(most, values[i]);
  return most;
}

void attend(const float* q, const AttentionRun& run, int64_t position, int64_t head, const AttentionShape& shape,
            float* y) {
  const int64_t stride = shape.kv_heads * shape.size;
  const int64_t offset = head / (shape.heads / shape.kv_heads) * shape.size;
  const int64_t visible = position + 1;
  std::fill(y, y + shape.size, 0.f);
  float most = -INFINITY;
  Vec sums(0.f);
  alignas(64) float scores[kKeyBlock];
  KeyRows rows;
  for (int64_t first = 0; first < visible; first += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, visible - first);
    find_rows(run, first, count, stride, offset, rows);
    scores_of(q, rows, count, shape, scores);
    if (shape.slopes != nullptr) {
      for (int64_t i = 0; i < count; ++i) scores[i] -= shape.slopes[head] * static_cast<float>(position - first - i);
    }
    const float now = std::max(most, largest(scores));
    const Vec shift = (Vec(most) - Vec(now)).exp();
    alignas(64) float factor[kLanes];
    shift.store(factor);
    sums = sums * shift;
    for (int64_t i = 0; i < kKeyBlock; i += kLanes) {
      const Vec weight = (Vec::loadu(scores + i) - Vec(now)).exp();
      weight.store(scores + i);
      sums = sums + weight;
    }
    add_values(scores, rows, count, factor[0], shape.size, y);
    most = now;
  }
  const Vec inverse(1.f / horizontal_sum(sums));
  for (int64_t d = 0; d < shape.size; d += kLanes) {
    const int64_t width = std::min(kLanes, shape.size - d);
    store(load(y + d, width) * inverse, y + d, width);
  }
}

void attention(const float* q, const AttentionRun* runs, int64_t run_count, const AttentionShape& shape, float* y) {
  std::vector<const AttentionRun*> of_token(shape.tokens);
  for (int64_t r = 0; r < run_count; ++r) {
    std::fill_n(of_token.begin() + runs[r].first, runs[r].count, runs + r);
  }
  // Heads outside, tokens inside: later tokens see more keys, and threads should get as much to do as each other.
  at::parallel_for(0, shape.heads * shape.tokens, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / shape.tokens, token = item % shape.tokens;
      const AttentionRun& run = *of_token[token];
      const int64_t at = (token * shape.heads + head) * shape.size;
      attend(q + at, run, run.past + token - run.first, head, shape, y + at);
    }
  });
}

}  // namespace
}  // namespace psann
