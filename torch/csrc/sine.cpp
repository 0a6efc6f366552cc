// The damped sine as a differentiable function, alone and with a linear map behind it.

#include <cstring>
#include <optional>

#include "interface.h"
#include "products.h"

namespace psann {
namespace {

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

int64_t rows_of(const Tensor& z) {
  return z.size(-1) == 0 ? 0 : z.numel() / z.size(-1);
}

// z must be contiguous and `fused_rows`; a, f and d are effective vectors.
Tensor sine_of_rows(const Tensor& z, const Tensor& a, const Tensor& f, const Tensor& d, Decay mode) {
  Tensor y = at::empty_like(z);
  with_element(z, [&]<typename Element>(Element) {
    row_kernels<Element>().sine_forward(z.const_data_ptr<Element>(), a.const_data_ptr<float>(), f.const_data_ptr<float>(),
                                        d.const_data_ptr<float>(), mode, y.mutable_data_ptr<Element>(), rows_of(z),
                                        z.size(-1));
  });
  return y;
}

// Gives the sums [3, features]; writes the gradient of z, which may be the output's in place, and y if it is defined.
Tensor sine_gradients(const Tensor& z, const Tensor& output_gradient, const Tensor& a, const Tensor& f, const Tensor& d,
                      Decay mode, const Tensor& z_gradient, const Tensor& y) {
  Tensor sums = at::empty({3, z.size(-1)}, a.options());
  with_element(z, [&]<typename Element>(Element) {
    row_kernels<Element>().sine_backward(
        z.const_data_ptr<Element>(), output_gradient.const_data_ptr<Element>(), a.const_data_ptr<float>(),
        f.const_data_ptr<float>(), d.const_data_ptr<float>(), mode, z_gradient.mutable_data_ptr<Element>(),
        sums.mutable_data_ptr<float>(), y.defined() ? y.mutable_data_ptr<Element>() : nullptr, rows_of(z), z.size(-1));
  });
  return sums;
}

struct DampedSine : torch::autograd::Function<DampedSine> {
  static Tensor forward(AutogradContext* context, const Tensor& z, const Tensor& amplitude, const Tensor& frequency,
                        const Tensor& decay, int64_t mode, const Bounds& bounds) {
    // Only z: everything else is computed again, at less than the price of reading it back.
    context->save_for_backward({z, amplitude, frequency, decay});
    save_formula(context, mode, bounds);
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor a = effective(amplitude, 0, bounds), f = effective(frequency, 1, bounds), d = effective(decay, 2, bounds);
    if (fused_rows(z) && z.is_contiguous()) return sine_of_rows(z, a, f, d, static_cast<Decay>(mode));
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
    if (fused_rows(z) && z.is_contiguous() && gradients[0].scalar_type() == z.scalar_type()) {
      z_gradient = at::empty_like(z);
      sums = sine_gradients(z, gradients[0].contiguous(), a, f, d, mode, z_gradient, Tensor());
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

// The damped sine of z [.., features] followed by a linear map with weight [out, features] in the dtype of z, fp32 or bf16
// on the CPU, and bias [out], fp32 or that dtype too. Apart, the linear map would keep the sine's output for its backward pass, as large as z; together, the backward
// pass computes it again while it reads z anyway.
struct SineLinear : torch::autograd::Function<SineLinear> {
  static Tensor forward(AutogradContext* context, const Tensor& z, const Tensor& amplitude, const Tensor& frequency,
                        const Tensor& decay, const Tensor& weight, const Tensor& bias, int64_t mode,
                        const Bounds& bounds) {
    context->save_for_backward({z, amplitude, frequency, decay, weight});
    save_formula(context, mode, bounds);
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor a = effective(amplitude, 0, bounds), f = effective(frequency, 1, bounds), d = effective(decay, 2, bounds);
    const Tensor y = sine_of_rows(z, a, f, d, static_cast<Decay>(mode));
    return at::linear(y, weight, bias.to(weight.scalar_type()));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &z = saved[0], &weight = saved[4];
    const auto [mode, bounds] = saved_formula(context);
    const Tensor a = effective(saved[1], 0, bounds), f = effective(saved[2], 1, bounds), d = effective(saved[3], 2, bounds);
    const int64_t rows = rows_of(z);
    const Tensor g = gradients[0].reshape({rows, weight.size(0)});
    // Becomes the gradient of z in place.
    const Tensor z_gradient = at::mm(g, weight), y = at::empty({rows, z.size(-1)}, z.options());
    const Tensor sums = sine_gradients(z, z_gradient, a, f, d, mode, z_gradient, y);
    variable_list result = {z_gradient.view(z.sizes())};
    push_vector_gradients(context, saved, sums, bounds, result);
    result.push_back(weight_gradient(g, y));
    result.push_back(bias_gradient(g));
    result.push_back(Tensor());  // mode
    result.push_back(Tensor());  // bounds
    return result;
  }
};

}  // namespace
}  // namespace psann

using at::Tensor;

extern "C" {

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

}  // extern "C"
