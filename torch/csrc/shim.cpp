// The C interface between Rust and what tch lacks of libtorch. Every function returns 0, or 1 with a message for
// psann_last_error: no exception crosses. Tensors cross as pointers to at::Tensor, results as new ones that the
// caller owns. Shapes, dtypes and devices were checked by the caller.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

#include <cstring>
#include <optional>

#include "guard.h"
#include "kernels.h"

using at::Tensor;
using psann::Decay;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace psann {

extern const Kernels psann_kernels_default;
#ifdef PSANN_X86
extern const Kernels psann_kernels_avx2;
extern const Kernels psann_kernels_avx512;
#endif

int instruction_set() {
#ifdef PSANN_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return 2;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

const Kernels& kernels() {
#ifdef PSANN_X86
  static const Kernels* const tables[] = {&psann_kernels_default, &psann_kernels_avx2, &psann_kernels_avx512};
#else
  static const Kernels* const tables[] = {&psann_kernels_default};
#endif
  static const Kernels& chosen = *tables[instruction_set()];
  return chosen;
}

namespace {

bool fused(const Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat;
}

// ---- damped sine -------------------------------------------------------------------------------------------------

struct Bounds {
  // NaN means no bound. Order: amplitude low, high, frequency low, high, decay low, high.
  double limits[6];
};

// softplus, the frequency's 1e-6, then bounds: the values in the formula, [features] fp32.
Tensor effective(const Tensor& raw, int which, const Bounds& bounds) {
  Tensor value = at::softplus(raw.to(at::kFloat));
  if (which == 1) value = value + 1e-6;
  const double low = bounds.limits[2 * which], high = bounds.limits[2 * which + 1];
  std::optional<at::Scalar> least, most;
  if (low == low) least = low;
  if (high == high) most = high;
  return least || most ? at::clamp(value, least, most) : value;
}

// d effective / d raw; the clamp passes gradients inside its bounds, ends included.
Tensor effective_slope(const Tensor& raw, int which, const Bounds& bounds) {
  const Tensor wide = raw.to(at::kFloat);
  Tensor slope = at::where(wide > 20, at::ones_like(wide), at::sigmoid(wide));
  const double low = bounds.limits[2 * which], high = bounds.limits[2 * which + 1];
  if (low == low || high == high) {
    Tensor value = at::softplus(wide);
    if (which == 1) value = value + 1e-6;
    if (low == low) slope = slope * (value >= low);
    if (high == high) slope = slope * (value <= high);
  }
  return slope;
}

void save_formula(AutogradContext* context, int64_t mode, const Bounds& bounds) {
  context->saved_data["mode"] = mode;
  c10::List<double> limits;
  for (double limit : bounds.limits) limits.push_back(limit);
  context->saved_data["bounds"] = limits;
}

std::pair<Decay, Bounds> saved_formula(AutogradContext* context) {
  Bounds bounds;
  const auto limits = context->saved_data["bounds"].toDoubleList();
  for (size_t i = 0; i < 6; ++i) bounds.limits[i] = limits.get(i);
  return {static_cast<Decay>(context->saved_data["mode"].toInt()), bounds};
}

// Takes the sums [3, features] of gradients of the effective vectors to the raw ones, which stand behind z in `saved`
// and, as forward lists its inputs, in the context's count too.
void push_vector_gradients(AutogradContext* context, const variable_list& saved, const Tensor& sums,
                           const Bounds& bounds, variable_list& result) {
  for (int which = 0; which < 3; ++which) {
    const Tensor& raw = saved[1 + which];
    result.push_back(context->needs_input_grad(1 + which)
                         ? (sums[which] * effective_slope(raw, which, bounds)).to(raw.scalar_type())
                         : Tensor());
  }
}

Tensor envelope(const Tensor& z, Decay mode) {
  switch (mode) {
    case Decay::Abs:
      return z.abs();
    case Decay::Relu:
      return z.clamp_min(0);
    default:
      return at::zeros_like(z);
  }
}

struct DampedSine : torch::autograd::Function<DampedSine> {
  static Tensor forward(AutogradContext* context, const Tensor& z, const Tensor& amplitude, const Tensor& frequency,
                        const Tensor& decay, int64_t mode, const Bounds& bounds) {
    // Only z: everything else is computed again, at less than the price of reading it back.
    context->save_for_backward({z, amplitude, frequency, decay});
    save_formula(context, mode, bounds);
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor a = effective(amplitude, 0, bounds), f = effective(frequency, 1, bounds), d = effective(decay, 2, bounds);
    if (fused(z) && z.is_contiguous()) {
      Tensor y = at::empty_like(z);
      const int64_t features = z.size(-1);
      kernels().sine_forward(z.const_data_ptr<float>(), a.const_data_ptr<float>(), f.const_data_ptr<float>(),
                             d.const_data_ptr<float>(), static_cast<Decay>(mode), y.mutable_data_ptr<float>(),
                             features == 0 ? 0 : z.numel() / features, features);
      return y;
    }
    const Tensor wide = z.to(at::kFloat);
    Tensor y = (d.neg() * envelope(wide, static_cast<Decay>(mode))).exp_().mul_(a).mul_((f * wide).sin_());
    return y.to(z.scalar_type());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &z = saved[0], &amplitude = saved[1], &frequency = saved[2], &decay = saved[3];
    const auto [mode, bounds] = saved_formula(context);
    const Tensor a = effective(amplitude, 0, bounds), f = effective(frequency, 1, bounds), d = effective(decay, 2, bounds);
    const int64_t features = z.size(-1);
    Tensor z_gradient, sums;
    if (fused(z) && z.is_contiguous() && gradients[0].scalar_type() == at::kFloat) {
      const Tensor output_gradient = gradients[0].contiguous();
      z_gradient = at::empty_like(z);
      sums = at::empty({3, features}, a.options());
      kernels().sine_backward(z.const_data_ptr<float>(), output_gradient.const_data_ptr<float>(),
                              a.const_data_ptr<float>(), f.const_data_ptr<float>(), d.const_data_ptr<float>(), mode,
                              z_gradient.mutable_data_ptr<float>(), sums.mutable_data_ptr<float>(), nullptr,
                              features == 0 ? 0 : z.numel() / features, features);
    } else {
      const Tensor wide = z.to(at::kFloat).reshape({-1, features});
      const Tensor g = gradients[0].to(at::kFloat).reshape({-1, features});
      const Tensor argument = envelope(wide, mode);
      const Tensor ge = (d.neg() * argument).exp_().mul_(g);
      const Tensor sine = (f * wide).sin_(), cosine = (f * wide).cos_();
      Tensor slope = f * cosine;
      if (mode == Decay::Abs) slope.sub_(d * wide.sign() * sine);
      if (mode == Decay::Relu) slope.sub_(d * (wide > 0) * sine);
      z_gradient = (a * ge).mul_(slope).reshape(z.sizes()).to(z.scalar_type());
      sums = at::stack({(ge * sine).sum(0), (a * ge * wide * cosine).sum(0),
                        mode == Decay::None ? at::zeros_like(d) : (a * ge * sine).mul_(argument).sum(0).neg()});
    }
    variable_list result = {z_gradient};
    push_vector_gradients(context, saved, sums, bounds, result);
    result.push_back(Tensor());  // mode
    result.push_back(Tensor());  // bounds
    return result;
  }
};

// The damped sine of z [.., features] followed by a linear map with weight [out, features] and bias [out], fp32 on the
// CPU. Apart, the linear map would keep the sine's output for its backward pass, as large as z; together, the backward
// pass computes it again while it reads z anyway.
struct SineLinear : torch::autograd::Function<SineLinear> {
  static Tensor forward(AutogradContext* context, const Tensor& z, const Tensor& amplitude, const Tensor& frequency,
                        const Tensor& decay, const Tensor& weight, const Tensor& bias, int64_t mode,
                        const Bounds& bounds) {
    context->save_for_backward({z, amplitude, frequency, decay, weight});
    save_formula(context, mode, bounds);
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor a = effective(amplitude, 0, bounds), f = effective(frequency, 1, bounds), d = effective(decay, 2, bounds);
    const int64_t features = z.size(-1), rows = features == 0 ? 0 : z.numel() / features;
    Tensor y = at::empty_like(z);
    kernels().sine_forward(z.const_data_ptr<float>(), a.const_data_ptr<float>(), f.const_data_ptr<float>(),
                           d.const_data_ptr<float>(), static_cast<Decay>(mode), y.mutable_data_ptr<float>(), rows,
                           features);
    return at::linear(y, weight, bias);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &z = saved[0], &weight = saved[4];
    const auto [mode, bounds] = saved_formula(context);
    const Tensor a = effective(saved[1], 0, bounds), f = effective(saved[2], 1, bounds), d = effective(saved[3], 2, bounds);
    const int64_t features = z.size(-1), rows = features == 0 ? 0 : z.numel() / features;
    const Tensor g = gradients[0].reshape({rows, weight.size(0)});
    // Becomes the gradient of z in place.
    Tensor z_gradient = at::mm(g, weight);
    Tensor y = at::empty({rows, features}, z.options()), sums = at::empty({3, features}, a.options());
    kernels().sine_backward(z.const_data_ptr<float>(), z_gradient.const_data_ptr<float>(), a.const_data_ptr<float>(),
                            f.const_data_ptr<float>(), d.const_data_ptr<float>(), mode,
                            z_gradient.mutable_data_ptr<float>(), sums.mutable_data_ptr<float>(),
                            y.mutable_data_ptr<float>(), rows, features);
    variable_list result = {z_gradient.view(z.sizes())};
    push_vector_gradients(context, saved, sums, bounds, result);
    result.push_back(at::mm(g.t(), y));
    result.push_back(g.sum(0));
    result.push_back(Tensor());  // mode
    result.push_back(Tensor());  // bounds
    return result;
  }
};

// ---- RMS norm ----------------------------------------------------------------------------------------------------

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& scale, double eps) {
    at::AutoDispatchBelowADInplaceOrView below;
    Tensor y, inverse;
    if (fused(x) && x.is_contiguous() && fused(scale)) {
      const int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
      y = at::empty_like(x);
      inverse = at::empty({rows}, x.options());
      kernels().rms_forward(x.const_data_ptr<float>(), scale.const_data_ptr<float>(), static_cast<float>(eps),
                            y.mutable_data_ptr<float>(), inverse.mutable_data_ptr<float>(), rows, width);
    } else {
      const Tensor wide = x.to(at::kFloat);
      inverse = wide.square().mean(-1, true).add_(eps).rsqrt_();
      y = (wide * (scale.to(at::kFloat) * inverse)).to(x.scalar_type());
    }
    context->save_for_backward({x, scale, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &scale = saved[1], &inverse = saved[2];
    const int64_t width = x.size(-1);
    if (fused(x) && x.is_contiguous() && fused(scale) && fused(gradients[0])) {
      const Tensor output_gradient = gradients[0].contiguous();
      Tensor x_gradient = at::empty_like(x), scale_gradient = at::empty_like(scale);
      kernels().rms_backward(x.const_data_ptr<float>(), scale.const_data_ptr<float>(), inverse.const_data_ptr<float>(),
                             output_gradient.const_data_ptr<float>(), x_gradient.mutable_data_ptr<float>(),
                             scale_gradient.mutable_data_ptr<float>(), inverse.numel(), width);
      return {x_gradient, scale_gradient, Tensor()};
    }
    const Tensor wide = x.to(at::kFloat), g = gradients[0].to(at::kFloat), r = inverse.reshape(
        [&] { auto shape = x.sizes().vec(); shape.back() = 1; return shape; }());
    const Tensor gs = g * scale.to(at::kFloat);
    const Tensor along = (gs * wide).sum(-1, true).mul_(r * r * r / static_cast<double>(width));
    const Tensor x_gradient = (gs * r).sub_(wide * along).to(x.scalar_type());
    const Tensor scale_gradient = (g * wide * r).reshape({-1, width}).sum(0).to(scale.scalar_type());
    return {x_gradient, scale_gradient, Tensor()};
  }
};

// ---- rotary positions --------------------------------------------------------------------------------------------

// x [batch, time, heads, size]; tables [time, size / 2] or [batch, time, size / 2], fp32.
Tensor rotated(const Tensor& x, const Tensor& cosine, const Tensor& sine, double direction) {
  const int64_t batch = x.size(0), time = x.size(1), heads = x.size(2), size = x.size(3);
  const bool rows_line_up = x.stride(3) == 1 && (batch == 1 || x.stride(0) == time * x.stride(1));
  if (fused(x) && rows_line_up) {
    Tensor y = at::empty({batch, time, heads, size}, x.options());
    kernels().rotate(x.const_data_ptr<float>(), x.stride(1), x.stride(2), cosine.const_data_ptr<float>(),
                     sine.const_data_ptr<float>(), cosine.numel() / (size / 2), static_cast<float>(direction),
                     y.mutable_data_ptr<float>(), batch * time, heads, size);
    return y;
  }
  // The reference casts the tables to the dtype of x and rotates in that dtype.
  const Tensor c = cosine.to(x.scalar_type()).unsqueeze(-2), s = (sine * direction).to(x.scalar_type()).unsqueeze(-2);
  const Tensor pairs = x.reshape({batch, time, heads, size / 2, 2});
  const Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
  return at::stack({even * c - odd * s, odd * c + even * s}, -1).reshape(x.sizes());
}

struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& cosine, const Tensor& sine) {
    context->save_for_backward({cosine, sine});
    at::AutoDispatchBelowADInplaceOrView below;
    return rotated(x, cosine, sine, 1);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1], -1), Tensor(), Tensor()};
  }
};

// ---- loss --------------------------------------------------------------------------------------------------------

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
  if (fused(logits)) {
    Tensor plain = at::empty({logits.size(0)}, options), smooth = at::empty({logits.size(0)}, options);
    kernels().cross_entropy(logits.mutable_data_ptr<float>(), labels.const_data_ptr<int64_t>(),
                            static_cast<float>(request.smoothing), static_cast<float>(request.scale), request.gradients,
                            plain.mutable_data_ptr<float>(), smooth.mutable_data_ptr<float>(), logits.size(0),
                            logits.size(1));
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
    if (buffer == nullptr) {
      result.weight_gradient.addmm_(logits.t(), part);
    } else if (buffer->scalar_type() == logits.scalar_type()) {
      const_cast<Tensor*>(buffer)->addmm_(logits.t(), part);
    } else {
      const_cast<Tensor*>(buffer)->add_(at::mm(logits.t(), part));
    }
  }
  result.sum = total.item<double>();
  result.targets = (labels >= 0).sum().item<int64_t>();
  return result;
}

Tensor* owned(const Tensor& tensor) {
  return tensor.defined() ? new Tensor(tensor) : nullptr;
}

}  // namespace
}  // namespace psann

extern "C" {

const char* psann_last_error() { return psann::last_error.c_str(); }

const char* psann_libtorch_version() { return TORCH_VERSION; }

// gradients[i] is null where the output does not depend on inputs[i].
int psann_gradients(const Tensor* output, const Tensor* output_gradient, const Tensor* const* inputs, int64_t count,
                    Tensor** gradients) {
  return psann::guarded([&] {
    variable_list wanted;
    for (int64_t i = 0; i < count; ++i) wanted.push_back(*inputs[i]);
    auto found = torch::autograd::grad({*output}, wanted, {*output_gradient}, /*retain_graph=*/false,
                                       /*create_graph=*/false, /*allow_unused=*/true);
    for (int64_t i = 0; i < count; ++i) gradients[i] = psann::owned(found[i]);
  });
}

int psann_damped_sine(const Tensor* z, const Tensor* amplitude, const Tensor* frequency, const Tensor* decay, int mode,
                      const double* bounds, Tensor** result) {
  return psann::guarded([&] {
    psann::Bounds limits;
    std::memcpy(limits.limits, bounds, sizeof(limits.limits));
    *result = psann::owned(psann::DampedSine::apply(*z, *amplitude, *frequency, *decay, static_cast<int64_t>(mode), limits));
  });
}

int psann_damped_sine_linear(const Tensor* z, const Tensor* amplitude, const Tensor* frequency, const Tensor* decay,
                             const Tensor* weight, const Tensor* bias, int mode, const double* bounds, Tensor** result) {
  return psann::guarded([&] {
    psann::Bounds limits;
    std::memcpy(limits.limits, bounds, sizeof(limits.limits));
    *result = psann::owned(psann::SineLinear::apply(*z, *amplitude, *frequency, *decay, *weight, *bias,
                                                    static_cast<int64_t>(mode), limits));
  });
}

int psann_rms_norm(const Tensor* x, const Tensor* scale, double eps, Tensor** result) {
  return psann::guarded([&] { *result = psann::owned(psann::RmsNorm::apply(*x, *scale, eps)); });
}

int psann_rotate(const Tensor* x, const Tensor* cosine, const Tensor* sine, Tensor** result) {
  return psann::guarded([&] { *result = psann::owned(psann::Rotate::apply(*x, *cosine, *sine)); });
}

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

// The memory of a contiguous CPU tensor, for writing it to a file without a copy.
int psann_bytes(const Tensor* x, const void** data, int64_t* count) {
  return psann::guarded([&] {
    TORCH_CHECK(x->device().is_cpu() && x->is_contiguous(), "only the bytes of a contiguous CPU tensor can be read");
    *data = x->const_data_ptr();
    *count = static_cast<int64_t>(x->nbytes());
  });
}

// Frees the memory of a storage but not the storage: views and saved tensors stay, without values.
int psann_storage_empty(const Tensor* x) {
  return psann::guarded([&] { x->storage().set_data_ptr_noswap(c10::DataPtr(nullptr, x->device())); });
}

int psann_storage_refill(const Tensor* x) {
  return psann::guarded([&] {
    const auto& storage = x->storage();
    storage.set_data_ptr_noswap(c10::GetAllocator(x->device().type())->allocate(storage.nbytes()));
  });
}

}  // extern "C"
