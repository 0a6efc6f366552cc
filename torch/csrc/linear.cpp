// Parts of a block whose gradients ATen would round or pass through memory more often than need be: with bf16 weights on
// the CPU, gradients of weights leave their product as fp32.

#include <optional>

#include "interface.h"
#include "products.h"

namespace psann {
namespace {

// x [.., features], weight [out, features] of one dtype; bias [out] of any.
struct Linear : torch::autograd::Function<Linear> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["biased"] = bias.has_value();
    at::AutoDispatchBelowADInplaceOrView below;
    return at::linear(x, weight, bias ? std::optional<Tensor>(bias->to(weight.scalar_type())) : std::nullopt);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const Tensor g = gradients[0].reshape({-1, weight.size(0)});
    variable_list result(3);
    if (context->needs_input_grad(0)) result[0] = at::mm(g, weight).view(x.sizes());
    if (context->needs_input_grad(1)) result[1] = weight_gradient(g, x.reshape({-1, x.size(-1)}));
    // A missing bias is no input that could be asked about.
    if (context->saved_data["biased"].toBool() && context->needs_input_grad(2)) result[2] = bias_gradient(g);
    return result;
  }
};

// Rows of a bf16 weight [classes, width] on the CPU by contiguous ids.
struct Embedding : torch::autograd::Function<Embedding> {
  static Tensor forward(AutogradContext* context, const Tensor& weight, const Tensor& ids) {
    context->save_for_backward({ids});
    context->saved_data["classes"] = weight.size(0);
    at::AutoDispatchBelowADInplaceOrView below;
    return at::embedding(weight, ids);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor ids = context->get_saved_variables()[0], g = gradients[0].contiguous();
    const Tensor sums = at::zeros({context->saved_data["classes"].toInt(), g.size(-1)}, g.options().dtype(at::kFloat));
    kernels().half.embedding_backward(g.const_data_ptr<c10::BFloat16>(), ids.const_data_ptr<int64_t>(),
                                      sums.mutable_data_ptr<float>(), ids.numel(), g.size(-1));
    return {sums, Tensor()};
  }
};

// x + alpha * m of bf16 on the CPU, alpha [1] fp32.
struct ScaledAdd : torch::autograd::Function<ScaledAdd> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& alpha, const Tensor& m) {
    context->save_for_backward({alpha, m});
    at::AutoDispatchBelowADInplaceOrView below;
    Tensor y = at::empty_like(x);
    kernels().half.scaled_add(x.const_data_ptr<c10::BFloat16>(), m.const_data_ptr<c10::BFloat16>(),
                              *alpha.const_data_ptr<float>(), y.mutable_data_ptr<c10::BFloat16>(), x.numel());
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &alpha = saved[0], &m = saved[1], g = gradients[0].contiguous();
    Tensor m_gradient = at::empty_like(m), alpha_gradient = at::empty_like(alpha);
    *alpha_gradient.mutable_data_ptr<float>() = kernels().half.scaled_add_backward(
        g.const_data_ptr<c10::BFloat16>(), m.const_data_ptr<c10::BFloat16>(), *alpha.const_data_ptr<float>(),
        m_gradient.mutable_data_ptr<c10::BFloat16>(), m.numel());
    return {g, alpha_gradient, m_gradient};
  }
};

bool half_on_cpu(const Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kBFloat16;
}

}  // namespace
}  // namespace psann

using at::Tensor;

extern "C" {

// `bias` may be null.
int psann_linear(const Tensor* x, const Tensor* weight, const Tensor* bias, Tensor** result) {
  return psann::guarded([&] {
    const auto optional = bias == nullptr ? std::nullopt : std::optional<Tensor>(*bias);
    if (psann::half_on_cpu(*weight)) {
      *result = psann::owned(psann::Linear::apply(*x, *weight, optional));
    } else {
      *result = psann::owned(at::linear(*x, *weight, optional ? optional->to(weight->scalar_type()) : optional));
    }
  });
}

int psann_embedding(const Tensor* weight, const Tensor* ids, Tensor** result) {
  return psann::guarded([&] {
    if (psann::half_on_cpu(*weight) && ids->scalar_type() == at::kLong) {
      *result = psann::owned(psann::Embedding::apply(*weight, ids->contiguous()));
    } else {
      *result = psann::owned(at::embedding(*weight, *ids));
    }
  });
}

int psann_scaled_add(const Tensor* x, const Tensor* alpha, const Tensor* m, Tensor** result) {
  return psann::guarded([&] {
    if (psann::half_on_cpu(*x) && psann::half_on_cpu(*m) && psann::fused(*alpha) && x->is_contiguous() &&
        m->is_contiguous()) {
      *result = psann::owned(psann::ScaledAdd::apply(*x, *alpha, *m));
    } else {
      *result = psann::owned(at::addcmul(*x, alpha->to(x->scalar_type()), *m));
    }
  });
}

}  // extern "C"
