// See kernels.h. Compiled once per instruction set; PSANN_KERNELS names the table that this unit defines.

#include "kernels.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace psann {
// Everything has internal linkage: three units hold the same names.
namespace {

using Vec = at::vec::Vectorized<float>;
constexpr int64_t kLanes = Vec::size();
// Rows that are summed together before their sum joins the others; fixed, so that sums do not depend on threads.
constexpr int64_t kRowBlock = 32;

Vec load(const float* from, int64_t count) {
  return count >= kLanes ? Vec::loadu(from) : Vec::loadu(from, count);
}

void store(const Vec& value, float* to, int64_t count) {
  if (count >= kLanes) {
    value.store(to);
  } else {
    value.store(to, static_cast<int>(count));
  }
}

int64_t grain(int64_t work_per_item) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, work_per_item));
}

// sin and cos of x in one go: half the price of two calls.
void sine_cosine(const Vec& x, Vec& sine, Vec& cosine) {
#if defined(CPU_CAPABILITY_AVX512)
  auto both = Sleef_sincosf16_u10(x);
  sine = Vec(both.x);
  cosine = Vec(both.y);
#elif defined(CPU_CAPABILITY_AVX2)
  auto both = Sleef_sincosf8_u10(x);
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

template <Decay mode>
void sine_forward_rows(const float* z, const float* amplitude, const float* frequency, const float* decay, float* y,
                       int64_t begin, int64_t end, int64_t features) {
  for (int64_t row = begin; row < end; ++row) {
    const float* in = z + row * features;
    float* out = y + row * features;
    for (int64_t i = 0; i < features; i += kLanes) {
      const int64_t count = std::min(kLanes, features - i);
      const Vec x = load(in + i, count);
      Vec envelope = load(amplitude + i, count);
      if constexpr (mode != Decay::None) {
        envelope = envelope * (load(decay + i, count).neg() * envelope_argument<mode>(x)).exp();
      }
      store(envelope * (load(frequency + i, count) * x).sin(), out + i, count);
    }
  }
}

void sine_forward(const float* z, const float* amplitude, const float* frequency, const float* decay, Decay mode,
                  float* y, int64_t rows, int64_t features) {
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
template <Decay mode>
void sine_backward_rows(const float* z, const float* output_gradient, const float* amplitude, const float* frequency,
                        const float* decay, float* z_gradient, float* sums, float* y, int64_t begin, int64_t end,
                        int64_t features) {
  for (int64_t i = 0; i < features; i += kLanes) {
    const int64_t count = std::min(kLanes, features - i);
    const Vec a = load(amplitude + i, count), f = load(frequency + i, count), d = load(decay + i, count);
    Vec sum_a(0.f), sum_f(0.f), sum_d(0.f);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * features + i;
      const Vec x = load(z + at, count), g = load(output_gradient + at, count);
      Vec sine, cosine;
      sine_cosine(f * x, sine, cosine);
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

// Adds the partial sums of all blocks in order, in double precision.
void add_partials(const std::vector<float>& partials, int64_t blocks, int64_t width, float* sums) {
  at::parallel_for(0, width, grain(blocks), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (int64_t block = 0; block < blocks; ++block) sum += partials[block * width + i];
      sums[i] = static_cast<float>(sum);
    }
  });
}

void sine_backward(const float* z, const float* output_gradient, const float* amplitude, const float* frequency,
                   const float* decay, Decay mode, float* z_gradient, float* sums, float* y, int64_t rows,
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

float horizontal_sum(const Vec& value) {
  alignas(64) float lanes[kLanes];
  value.store(lanes);
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

void rms_forward(const float* x, const float* scale, float eps, float* y, float* inverse, int64_t rows, int64_t width) {
  at::parallel_for(0, rows, grain(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * width;
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

void rms_backward(const float* x, const float* scale, const float* inverse, const float* output_gradient,
                  float* x_gradient, float* scale_gradient, int64_t rows, int64_t width) {
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  std::vector<float> partials(blocks * width, 0.f);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      float* into = partials.data() + block * width;
      const int64_t end = std::min(rows, (block + 1) * kRowBlock);
      for (int64_t row = block * kRowBlock; row < end; ++row) {
        const float* in = x + row * width;
        const float* g = output_gradient + row * width;
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

void rotate(const float* x, int64_t row_stride, int64_t head_stride, const float* cosine, const float* sine,
            int64_t table_rows, float direction, float* y, int64_t rows, int64_t heads, int64_t size) {
  const int64_t half = size / 2;
  at::parallel_for(0, rows, grain(heads * size), [&](int64_t begin, int64_t end) {
    std::vector<float> turned(half);
    for (int64_t row = begin; row < end; ++row) {
      const float* c = cosine + (row % table_rows) * half;
      const float* s = sine + (row % table_rows) * half;
      for (int64_t i = 0; i < half; ++i) turned[i] = direction * s[i];
      for (int64_t head = 0; head < heads; ++head) {
        const float* in = x + row * row_stride + head * head_stride;
        float* out = y + (row * heads + head) * size;
        for (int64_t i = 0; i < half; ++i) {
          const float a = in[2 * i], b = in[2 * i + 1];
          out[2 * i] = a * c[i] - b * turned[i];
          out[2 * i + 1] = b * c[i] + a * turned[i];
        }
      }
    }
  });
}

void cross_entropy(float* logits, const int64_t* labels, float smoothing, float scale, bool gradient, float* losses,
                   float* smooth, int64_t rows, int64_t classes) {
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* line = logits + row * classes;
      const int64_t label = labels[row];
      if (label < 0) {
        losses[row] = smooth[row] = 0.f;
        if (gradient) std::memset(line, 0, classes * sizeof(float));
        continue;
      }
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
      losses[row] = log_sum - chosen;
      smooth[row] = smoothing > 0 ? (1 - smoothing) * losses[row] +
                                        smoothing * (log_sum - static_cast<float>(plain_sum / classes))
                                  : losses[row];
      if (!gradient) continue;
      const float factor = scale / sum;
      const float even = scale * smoothing / static_cast<float>(classes);
      const Vec vector_factor(factor), vector_even(even);
      for (i = 0; i + kLanes <= classes; i += kLanes) {
        (Vec::loadu(line + i) * vector_factor - vector_even).store(line + i);
      }
      for (; i < classes; ++i) line[i] = line[i] * factor - even;
      line[label] -= scale * (1 - smoothing);
    }
  });
}

}  // namespace

extern const Kernels PSANN_KERNELS;
const Kernels PSANN_KERNELS = {sine_forward, sine_backward, rms_forward, rms_backward, rotate, cross_entropy};

}  // namespace psann
