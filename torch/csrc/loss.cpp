// Cross-entropy straight from hidden states, a few hundred rows at a time.

#include "interface.h"
#include "products.h"

namespace psann {
namespace {

struct LossResult {
  double sum = 0;
  int64_t targets = 0;
  Tensor hidden_gradient, weight_gradient, per_token;
};

struct LossRequest {
  int64_t chunk;
  double smoothing, scale;
  bool per_token, gradients;
};

// `logits` becomes the gradient of scale * sum of losses when `gradients`; returns {plain, smooth} losses, fp32 [rows].
std::pair<Tensor, Tensor> cross_entropy_in_place(Tensor& logits, const Tensor& labels, const LossRequest& request) {
  const auto options = logits.options().dtype(at::kFloat);
  if (fused_rows(logits)) {
    Tensor plain = at::empty({logits.size(0)}, options), smooth = at::empty({logits.size(0)}, options);
    with_element(logits, [&]<typename Element>(Element) {
      row_kernels<Element>().cross_entropy(logits.mutable_data_ptr<Element>(), labels.const_data_ptr<int64_t>(),
                                           static_cast<float>(request.smoothing), static_cast<float>(request.scale),
                                           request.gradients, plain.mutable_data_ptr<float>(),
                                           smooth.mutable_data_ptr<float>(), logits.size(0), logits.size(1));
    });
    return {plain, smooth};
  }
  const auto dtype = logits.scalar_type();
  Tensor log_probabilities = logits.to(at::kFloat).log_softmax(-1);
  const Tensor valid = labels >= 0, index = labels.clamp_min(0).unsqueeze(-1);
  const Tensor mask = valid.to(at::kFloat);
  const Tensor plain = log_probabilities.gather(-1, index).squeeze(-1).neg_().mul_(mask);
  const Tensor smooth = request.smoothing > 0 ? plain * (1 - request.smoothing) -
                                                    log_probabilities.mean(-1).mul_(mask) * request.smoothing
                                              : plain;
  if (request.gradients) {
    Tensor gradient = log_probabilities.exp_();
    if (request.smoothing > 0) gradient.sub_(request.smoothing / static_cast<double>(logits.size(1)));
    gradient.scatter_add_(-1, index, at::full_like(index, -(1 - request.smoothing), options));
    logits = gradient.mul_(mask.unsqueeze(-1).mul_(request.scale)).to(dtype);
  }
  return {plain, smooth};
}

LossResult linear_cross_entropy(const Tensor& hidden, const Tensor& weight, const Tensor& labels, const Tensor* buffer,
                                const LossRequest& request) {
  at::NoGradGuard no_grad;
  const int64_t rows = hidden.size(0), classes = weight.size(0);
  LossResult result;
  Tensor total = at::zeros({}, hidden.options().dtype(at::kDouble));
  if (request.gradients) {
    result.hidden_gradient = at::empty_like(hidden);
    if (buffer == nullptr) result.weight_gradient = at::zeros_like(weight);
  }
  if (request.per_token) result.per_token = at::empty({rows}, hidden.options().dtype(at::kFloat));
  Tensor space;
  const Tensor transposed = weight.t();
  for (int64_t begin = 0; begin < rows; begin += request.chunk) {
    const int64_t count = std::min(request.chunk, rows - begin);
    const Tensor part = hidden.narrow(0, begin, count), targets = labels.narrow(0, begin, count);
    if (!space.defined() || space.size(0) != count) space = at::empty({count, classes}, hidden.options());
    at::mm_out(space, part, transposed);
    Tensor logits = space;
    auto [plain, smooth] = cross_entropy_in_place(logits, targets, request);
    total.add_(smooth.sum(at::kDouble));
    if (request.per_token) result.per_token.narrow(0, begin, count).copy_(plain);
    if (!request.gradients) continue;
    Tensor into = result.hidden_gradient.narrow(0, begin, count);
    at::mm_out(into, logits, weight);
    Tensor sum = buffer == nullptr ? result.weight_gradient : *buffer;
    add_weight_gradient(sum, logits, part);
  }
  result.sum = total.item<double>();
  result.targets = (labels >= 0).sum().item<int64_t>();
  return result;
}

}  // namespace
}  // namespace psann

using at::Tensor;

extern "C" {

int psann_linear_cross_entropy(const Tensor* hidden, const Tensor* weight, const Tensor* labels, const Tensor* buffer,
                               int64_t chunk, double smoothing, double scale, int per_token, int gradients, double* sum,
                               int64_t* targets, Tensor** hidden_gradient, Tensor** weight_gradient, Tensor** losses) {
  return psann::guarded([&] {
    const psann::LossRequest request{chunk, smoothing, scale, per_token != 0, gradients != 0};
    const auto result = psann::linear_cross_entropy(*hidden, *weight, *labels, buffer, request);
    *sum = result.sum;
    *targets = result.targets;
    *hidden_gradient = psann::owned(result.hidden_gradient);
    *weight_gradient = psann::owned(result.weight_gradient);
    *losses = psann::owned(result.per_token);
  });
}

}  // extern "C"
