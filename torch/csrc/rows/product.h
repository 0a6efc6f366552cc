// Products with weight matrices in which each result is a dot product of its own: lanes run along the features, so that
// neither operand is repacked and no result knows how many others there are.
#pragma once

#include "lane_sums.h"

namespace psann {
namespace {

// A tile's sums stay in registers: 24 of AVX-512's 32, 8 of AVX2's 16.
#if defined(CPU_CAPABILITY_AVX512)
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 2;
#endif
constexpr int kTileOutputs = 4;
// Features that are summed in registers before their sum joins the result; part of the definition of a result.
constexpr int64_t kFeatureBlock = 1024;
// What a thread does at once: these many outputs' weights stay in the second-level cache, whatever the rows.
constexpr int64_t kOutputBlock = 64, kRowsAtOnce = 96;

template <int rows, int outputs, typename Weight>
inline void product_tile(const float* x, const Weight* weight, int64_t features, int64_t stride, const float* bias,
                         float* y, int64_t y_stride, bool first) {
  constexpr int count = rows * outputs;
  constexpr int vectors = (count + kLanes - 1) / kLanes;
  Vec sums[vectors * kLanes];
  for (Vec& sum : sums) sum = Vec(0.f);
  int64_t k = 0;
  for (; k + kLanes <= features; k += kLanes) {
    Vec w[outputs];
    for (int o = 0; o < outputs; ++o) w[o] = load(weight + o * stride + k, kLanes);
    for (int r = 0; r < rows; ++r) {
      const Vec value = Vec::loadu(x + r * stride + k);
      for (int o = 0; o < outputs; ++o) sums[r * outputs + o] = at::vec::fmadd(value, w[o], sums[r * outputs + o]);
    }
  }
  if (k < features) {
    for (int o = 0; o < outputs; ++o) {
      const Vec w = load(weight + o * stride + k, features - k);
      for (int r = 0; r < rows; ++r) {
        const Vec value = load(x + r * stride + k, features - k);
        sums[r * outputs + o] = at::vec::fmadd(value, w, sums[r * outputs + o]);
      }
    }
  }
  alignas(64) float totals[vectors * kLanes];
  for (int v = 0; v < vectors; ++v) lane_sums(sums + v * kLanes).store(totals + v * kLanes);
  for (int r = 0; r < rows; ++r) {
    for (int o = 0; o < outputs; ++o) {
      float& result = y[r * y_stride + o];
      const float before = first ? (bias == nullptr ? 0.f : bias[o]) : result;
      result = before + totals[r * outputs + o];
    }
  }
}

template <int rows, typename Weight>
void product_rows(const float* x, const Weight* weight, int64_t features, int64_t stride, const float* bias, float* y,
                  int64_t y_stride, int64_t outputs, bool first) {
  int64_t o = 0;
  const auto tile = [&]<int width>() {
    product_tile<rows, width>(x, weight + o * stride, features, stride, bias == nullptr ? nullptr : bias + o, y + o,
                              y_stride, first);
    o += width;
  };
  // One row alone waits for memory, and takes more outputs at once.
  if constexpr (rows == 1) {
    while (o + kLanes <= outputs) tile.template operator()<static_cast<int>(kLanes)>();
  }
  while (o + kTileOutputs <= outputs) tile.template operator()<kTileOutputs>();
  while (o < outputs) tile.template operator()<1>();
}

// One block of rows and outputs; the features in blocks, so that what is read again is still in the cache.
template <typename Weight>
void product_block(const float* x, const Weight* weight, const float* bias, float* y, int64_t rows, int64_t features,
                   int64_t outputs, int64_t y_stride) {
  for (int64_t k = 0; k == 0 || k < features; k += kFeatureBlock) {
    const int64_t count = std::min(kFeatureBlock, features - k);
    int64_t r = 0;
    const auto tile = [&]<int height>() {
      product_rows<height>(x + r * features + k, weight + k, count, features, bias, y + r * y_stride, y_stride, outputs,
                           k == 0);
      r += height;
    };
    while (r + kTileRows <= rows) tile.template operator()<kTileRows>();
    while (r + 2 <= rows) tile.template operator()<2>();
    while (r < rows) tile.template operator()<1>();
  }
}

template <typename Weight>
void product(const float* x, const Weight* weight, const float* bias, float* y, int64_t rows, int64_t features,
             int64_t outputs) {
  const int64_t across = (outputs + kOutputBlock - 1) / kOutputBlock;
  const int64_t down = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  const int64_t work = kOutputBlock * std::min(rows, kRowsAtOnce) * features;
  at::parallel_for(0, across * down, std::max<int64_t>(1, 100'000 / std::max<int64_t>(1, work)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t block = begin; block < end; ++block) {
                       const int64_t r = block / across * kRowsAtOnce, o = block % across * kOutputBlock;
                       product_block(x + r * features, weight + o * features, bias == nullptr ? nullptr : bias + o,
                                     y + r * outputs + o, std::min(kRowsAtOnce, rows - r), features,
                                     std::min(kOutputBlock, outputs - o), outputs);
                     }
                   });
}

}  // namespace
}  // namespace psann
