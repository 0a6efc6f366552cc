// What turns logits into log-probabilities, in double precision.
#pragma once

#include "vector.h"

namespace psann {
namespace {

using Wide = at::vec::Vectorized<double>;
constexpr int64_t kWideLanes = Wide::size();

inline void normaliser(const float* logits, double& log_sum, int64_t& greedy, int64_t classes) {
  int64_t best = 0;
  for (int64_t i = 1; i < classes; ++i) {
    // A NaN is no maximum, but must not stay hidden: the sum shows it.
    if (logits[i] > logits[best]) best = i;
  }
  const double most = logits[best];
  Wide sums(0.0);
  alignas(64) double part[kWideLanes];
  for (int64_t first = 0; first < classes; first += kWideLanes) {
    for (int64_t i = 0; i < kWideLanes; ++i) {
      part[i] = first + i < classes ? static_cast<double>(logits[first + i]) - most : -INFINITY;
    }
    sums = sums + Wide::loadu(part).exp();
  }
  sums.store(part);
  double sum = 0;
  for (double value : part) sum += value;
  log_sum = most + std::log(sum);
  greedy = best;
}

void normalisers(const float* logits, double* log_sums, int64_t* greedy, int64_t rows, int64_t classes) {
  at::parallel_for(0, rows, grain(classes * 8), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) normaliser(logits + row * classes, log_sums[row], greedy[row], classes);
  });
}

}  // namespace
}  // namespace psann
