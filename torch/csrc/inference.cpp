// Forward passes without gradients: on fp32 CPU tensors the kernels of inference_kernels.h, elsewhere libtorch's own
// operations with the same formulas.

#include "inference_kernels.h"

#include <ATen/ops/scaled_dot_product_attention.h>

#include "interface.h"

namespace psann {

extern const InferenceKernels psann_inference_kernels_default;
#ifdef PSANN_X86
extern const InferenceKernels psann_inference_kernels_avx2;
extern const InferenceKernels psann_inference_kernels_avx512;
#endif

const InferenceKernels& inference_kernels() {
#ifdef PSANN_X86
  static const InferenceKernels* const tables[] = {&psann_inference_kernels_default, &psann_inference_kernels_avx2,
                                                   &psann_inference_kernels_avx512};
#else
  static const InferenceKernels* const tables[] = {&psann_inference_kernels_default};
#endif
  static const InferenceKernels& chosen = *tables[instruction_set()];
  return chosen;
}

namespace {

// Rows of logits that exist at once: enough for the product to be efficient, few enough to stay in caches.
constexpr int64_t kLogitRows = 96;

Tensor product(const Tensor& x, const Tensor& weight, const Tensor* bias) {
  if (!fused(x) || !fused_rows(weight) || !weight.is_contiguous()) {
    const auto of_kind = [&](const Tensor& tensor) { return tensor.to(x.scalar_type()); };
    return at::linear(x, of_kind(weight), bias == nullptr ? std::nullopt : std::optional<Tensor>(of_kind(*bias)));
  }
  const Tensor rows = x.contiguous();
  const Tensor added = bias == nullptr ? Tensor() : bias->to(at::kFloat).contiguous();
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  Tensor y = at::empty(shape, x.options());
  const int64_t features = weight.size(1), count = features == 0 ? 0 : rows.numel() / features;
  with_element(weight, [&]<typename Weight>(Weight) {
    const auto kernel = [&] {
      if constexpr (std::is_same_v<Weight, float>) return inference_kernels().product;
      else return inference_kernels().product_half;
    }();
    kernel(rows.const_data_ptr<float>(), weight.const_data_ptr<Weight>(),
           added.defined() ? added.const_data_ptr<float>() : nullptr, y.mutable_data_ptr<float>(), count, features,
           weight.size(0));
  });
  return y;
}

void normalise(const Tensor& logits, double* log_sums, int64_t* greedy) {
  const int64_t rows = logits.size(0), classes = logits.size(1);
  if (fused(logits)) {
    const Tensor plain = logits.contiguous();
    inference_kernels().normalisers(plain.const_data_ptr<float>(), log_sums, greedy, rows, classes);
    return;
  }
  const Tensor sums = logits.to(at::kDouble).logsumexp(-1).cpu().contiguous();
  std::copy_n(sums.const_data_ptr<double>(), rows, log_sums);
  const Tensor best = logits.argmax(-1).cpu().contiguous();
  std::copy_n(best.const_data_ptr<int64_t>(), rows, greedy);
}

// The same by libtorch's attention, run by run.
Tensor composed_attention(const Tensor& q, const AttentionShape& shape, const Tensor& slopes, const int64_t* layout,
                          const Tensor* const* keys, const Tensor* const* values, int64_t runs) {
  Tensor y = at::empty_like(q);
  for (int64_t r = 0; r < runs; ++r) {
    const int64_t *at = layout + 4 * r, first = at[0], count = at[1], past = at[2], head_rows = at[3];
    const auto rows = [&](const Tensor* const* parts) {
      const Tensor head = parts[2 * r]->narrow(0, 0, head_rows);
      const int64_t rest = past + count - head_rows;
      const Tensor all = rest == 0 ? head : at::cat({head, parts[2 * r + 1]->narrow(0, 0, rest)});
      return all.transpose(0, 1).unsqueeze(0).to(q.scalar_type());
    };
    const Tensor queries = q.narrow(0, first, count).transpose(0, 1).unsqueeze(0);
    const auto positions = at::arange(past + count, q.options().dtype(at::kLong));
    const Tensor distance = positions.narrow(0, past, count).unsqueeze(1) - positions.unsqueeze(0);
    Tensor mask = at::zeros_like(distance, q.options()).masked_fill(distance < 0, -INFINITY);
    if (slopes.defined()) mask = mask - slopes.to(q.scalar_type()).view({-1, 1, 1}) * distance;
    const Tensor mixed = at::scaled_dot_product_attention(queries, rows(keys), rows(values), mask, 0.0, false,
                                                          shape.scale, shape.heads != shape.kv_heads);
    y.narrow(0, first, count).copy_(mixed.squeeze(0).transpose(0, 1));
  }
  return y;
}

}  // namespace
}  // namespace psann

using at::Tensor;

extern "C" {

// x [.., features], weight [outputs, features] fp32 or bf16; `bias` may be null.
int psann_product(const Tensor* x, const Tensor* weight, const Tensor* bias, Tensor** result) {
  return psann::guarded([&] { *result = psann::owned(psann::product(*x, *weight, bias)); });
}

// q [tokens, heads, size]. Per run four numbers in `layout` (first token, tokens, past, rows in the head), and in `keys`
// and `values` two tensors [rows, kv_heads, size], contiguous: the head, and what comes behind it.
int psann_attention(const Tensor* q, const int64_t* layout, const Tensor* const* keys, const Tensor* const* values,
                    int64_t runs, double scale, const Tensor* slopes, Tensor** result) {
  return psann::guarded([&] {
    const int64_t kv_heads = runs == 0 ? 1 : keys[0]->size(1);
    psann::AttentionShape shape{q->size(0), q->size(1), kv_heads, q->size(2), static_cast<float>(scale), nullptr};
    const Tensor slope = slopes == nullptr ? Tensor() : slopes->to(at::kFloat).contiguous();
    const Tensor queries = q->contiguous();
    bool fits = psann::fused(queries);
    for (int64_t i = 0; i < 2 * runs; ++i) fits = fits && psann::fused(*keys[i]) && psann::fused(*values[i]);
    if (!fits) {
      *result = psann::owned(psann::composed_attention(queries, shape, slope, layout, keys, values, runs));
      return;
    }
    if (slope.defined()) shape.slopes = slope.const_data_ptr<float>();
    std::vector<psann::AttentionRun> list;
    for (int64_t r = 0; r < runs; ++r) {
      const int64_t* at = layout + 4 * r;
      const auto data = [&](const Tensor* const* parts, int which) {
        return parts[2 * r + which]->const_data_ptr<float>();
      };
      list.push_back({at[0], at[1], at[2], data(keys, 0), data(values, 0), at[3], data(keys, 1), data(values, 1)});
    }
    Tensor y = at::empty_like(queries);
    psann::inference_kernels().attention(queries.const_data_ptr<float>(), list.data(), runs, shape,
                                         y.mutable_data_ptr<float>());
    *result = psann::owned(y);
  });
}

// Log-probabilities of targets: fp64 [pairs]. hidden [rows, width], weight [classes, width]; pair i asks for class
// `targets[i]` at row `rows[i]`, rows ascending. `greedy` becomes the likeliest class of each row: int64 [rows].
int psann_log_likelihoods(const Tensor* hidden, const Tensor* weight, const int64_t* pair_rows, const int64_t* targets,
                          int64_t pairs, double* log_likelihoods, int64_t* greedy) {
  return psann::guarded([&] {
    const int64_t rows = hidden->size(0), classes = weight->size(0);
    int64_t pair = 0;
    for (int64_t first = 0; first < rows; first += psann::kLogitRows) {
      const int64_t count = std::min(psann::kLogitRows, rows - first);
      Tensor logits = psann::product(hidden->narrow(0, first, count), *weight, nullptr);
      std::vector<double> of_row(count);
      psann::normalise(logits, of_row.data(), greedy + first);
      std::vector<int64_t> places;
      const int64_t begin = pair;
      for (; pair < pairs && pair_rows[pair] < first + count; ++pair) {
        places.push_back((pair_rows[pair] - first) * classes + targets[pair]);
      }
      const Tensor wanted = at::tensor(places, at::kLong).to(logits.device());
      const Tensor found = logits.flatten().index_select(0, wanted).to(at::kDouble).cpu().contiguous();
      const double* of_target = found.const_data_ptr<double>();
      for (int64_t i = begin; i < pair; ++i) log_likelihoods[i] = of_target[i - begin] - of_row[pair_rows[i] - first];
    }
  });
}

// Per row of logits [rows, classes]: the logarithm of the sum of exponentials, and the first largest class.
int psann_normalisers(const Tensor* logits, double* log_sums, int64_t* greedy) {
  return psann::guarded([&] { psann::normalise(*logits, log_sums, greedy); });
}

int psann_swiglu(const Tensor* gate, const Tensor* up, Tensor** result) {
  return psann::guarded([&] {
    if (!psann::fused(*gate) || !psann::fused(*up)) {
      *result = psann::owned(at::silu(*gate) * *up);
      return;
    }
    const Tensor g = gate->contiguous(), u = up->contiguous();
    Tensor y = at::empty_like(g);
    const int64_t width = g.size(-1);
    psann::inference_kernels().swiglu(g.const_data_ptr<float>(), u.const_data_ptr<float>(), y.mutable_data_ptr<float>(),
                                      width == 0 ? 0 : g.numel() / width, width);
    *result = psann::owned(y);
  });
}

int psann_gelu(const Tensor* x, Tensor** result) {
  return psann::guarded([&] {
    if (!psann::fused(*x)) {
      *result = psann::owned(at::gelu(*x));
      return;
    }
    const Tensor rows = x->contiguous();
    Tensor y = at::empty_like(rows);
    const int64_t width = rows.size(-1);
    psann::inference_kernels().gelu(rows.const_data_ptr<float>(), y.mutable_data_ptr<float>(),
                                    width == 0 ? 0 : rows.numel() / width, width);
    *result = psann::owned(y);
  });
}

}  // extern "C"
