// The C interface of optimizers, by the rules of shim.cpp. What is named `_fused` works on contiguous CPU tensors, fp32
// where nothing else is said; the caller checked that.

#include <ATen/ATen.h>
#include <ATen/ops/_fused_adamw.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "guard.h"
#include "kernels.h"
#include "optimizer_kernels.h"

using at::Tensor;

namespace psann {

extern const OptimizerKernels psann_optimizer_kernels_default;
#ifdef PSANN_X86
extern const OptimizerKernels psann_optimizer_kernels_avx2;
extern const OptimizerKernels psann_optimizer_kernels_avx512;
#endif

const OptimizerKernels& optimizer_kernels() {
#ifdef PSANN_X86
  static const OptimizerKernels* const tables[] = {&psann_optimizer_kernels_default, &psann_optimizer_kernels_avx2,
                                                   &psann_optimizer_kernels_avx512};
#else
  static const OptimizerKernels* const tables[] = {&psann_optimizer_kernels_default};
#endif
  static const OptimizerKernels& chosen = *tables[instruction_set()];
  return chosen;
}

namespace {

bool on_plain_memory(const Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

}  // namespace
}  // namespace psann

extern "C" {

// As psann::optimizer::Moments in Rust.
struct psann_moments {
  double rate, beta1, beta2, eps, weight_decay, gradient_scale;
  int64_t step;
};

static psann::AdamW settings_of(const psann_moments& s) {
  const double correction1 = 1 - std::pow(s.beta1, static_cast<double>(s.step));
  const double correction2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
  return {static_cast<float>(s.rate / correction1),
          static_cast<float>(1 - s.rate * s.weight_decay),
          static_cast<float>(s.beta1),
          static_cast<float>(1 - s.beta1),
          static_cast<float>(s.beta2),
          static_cast<float>(1 - s.beta2),
          static_cast<float>(std::sqrt(correction2)),
          static_cast<float>(s.eps),
          static_cast<float>(s.gradient_scale)};
}

int psann_adamw(Tensor* value, const Tensor* gradient, Tensor* first, Tensor* second, const psann_moments* s) {
  return psann::guarded([&] {
    c10::NoGradGuard no_grad;
    if (psann::on_plain_memory(*value) && psann::on_plain_memory(*gradient) && psann::on_plain_memory(*first) &&
        psann::on_plain_memory(*second)) {
      psann::optimizer_kernels().adamw(value->mutable_data_ptr<float>(), gradient->const_data_ptr<float>(),
                                       first->mutable_data_ptr<float>(), second->mutable_data_ptr<float>(),
                                       settings_of(*s), value->numel());
      return;
    }
    const double correction1 = 1 - std::pow(s->beta1, static_cast<double>(s->step));
    const double correction2 = 1 - std::pow(s->beta2, static_cast<double>(s->step));
    const Tensor g = gradient->to(first->scalar_type()) * s->gradient_scale;
    first->lerp_(g, 1 - s->beta1);
    second->mul_(s->beta2).addcmul_(g, g, 1 - s->beta2);
    const Tensor denominator = second->sqrt().div_(std::sqrt(correction2)).add_(s->eps);
    value->mul_(1 - s->rate * s->weight_decay).addcdiv_(*first, denominator, -s->rate / correction1);
  });
}

int psann_adamw8bit_fused(Tensor* value, const Tensor* gradient, Tensor* first, Tensor* first_scale, Tensor* second,
                          Tensor* second_scale, psann::CodeMap signed_map, psann::CodeMap unsigned_map, int64_t bins,
                          const psann_moments* s, int decay_after) {
  return psann::guarded([&] {
    TORCH_CHECK(bins == psann::kBins, "the maps have ", bins, " bins in place of ", psann::kBins);
    const double correction1 = 1 - std::pow(s->beta1, static_cast<double>(s->step));
    const double root = std::sqrt(1 - std::pow(s->beta2, static_cast<double>(s->step)));
    const psann::Adam8bit settings{s->beta1,
                                   s->beta2,
                                   (1 - s->beta1) * s->gradient_scale,
                                   (1 - s->beta2) * s->gradient_scale * s->gradient_scale,
                                   static_cast<float>(s->rate * root / correction1),
                                   static_cast<float>(s->eps * root),
                                   static_cast<float>(1 - s->rate * s->weight_decay)};
    psann::optimizer_kernels().adamw8bit(
        value->mutable_data_ptr<float>(), gradient->const_data_ptr<float>(), first->mutable_data_ptr<uint8_t>(),
        first_scale->mutable_data_ptr<float>(), second->mutable_data_ptr<uint8_t>(),
        second_scale->mutable_data_ptr<float>(), signed_map, unsigned_map, settings, decay_after != 0, value->numel());
  });
}

// `of_rows` [rows] and `of_columns` [columns] are fp64.
int psann_squares_fused(const Tensor* x, double scale, double added, Tensor* of_rows, Tensor* of_columns) {
  return psann::guarded([&] {
    psann::optimizer_kernels().squares(x->const_data_ptr<float>(), static_cast<float>(scale), added,
                                       of_rows->mutable_data_ptr<double>(), of_columns->mutable_data_ptr<double>(),
                                       of_rows->numel(), of_columns->numel());
  });
}

int psann_factored_sum_fused(const Tensor* gradient, const Tensor* rows, const Tensor* columns, double cap,
                             double gradient_scale, double* sum) {
  return psann::guarded([&] {
    *sum = psann::optimizer_kernels().factored_sum(
        gradient->const_data_ptr<float>(),
        {rows->const_data_ptr<float>(), columns->const_data_ptr<float>(), static_cast<float>(cap),
         static_cast<float>(gradient_scale)},
        rows->numel(), columns->numel());
  });
}

int psann_factored_move_fused(Tensor* value, const Tensor* gradient, const Tensor* rows, const Tensor* columns,
                              double cap, double gradient_scale, double decay, double rate) {
  return psann::guarded([&] {
    psann::optimizer_kernels().factored_move(
        value->mutable_data_ptr<float>(), gradient->const_data_ptr<float>(),
        {rows->const_data_ptr<float>(), columns->const_data_ptr<float>(), static_cast<float>(cap),
         static_cast<float>(gradient_scale)},
        static_cast<float>(decay), static_cast<float>(rate), rows->numel(), columns->numel());
  });
}

int psann_round_stochastic_fused(const Tensor* x, Tensor* to, uint64_t key, int64_t first) {
  return psann::guarded([&] {
    psann::optimizer_kernels().round_stochastic(x->const_data_ptr<float>(),
                                                reinterpret_cast<uint16_t*>(to->mutable_data_ptr<at::BFloat16>()), key,
                                                static_cast<uint64_t>(first), x->numel());
  });
}

int psann_squared_sum(const Tensor* x, double* sum) {
  return psann::guarded([&] {
    c10::NoGradGuard no_grad;
    if (psann::on_plain_memory(*x)) {
      *sum = psann::optimizer_kernels().squared_sum(x->const_data_ptr<float>(), x->numel());
    } else {
      *sum = x->to(at::kDouble).square().sum().item<double>();
    }
  });
}

// ATen's own AdamW over one parameter, to be measured against.
int psann_aten_adamw(Tensor* value, Tensor* gradient, Tensor* first, Tensor* second, const psann_moments* s) {
  return psann::guarded([&] {
    c10::NoGradGuard no_grad;
    const Tensor step = at::full({}, static_cast<double>(s->step), value->options());
    at::_fused_adamw_({*value}, {*gradient}, {*first}, {*second}, {}, {step}, s->rate, s->beta1, s->beta2,
                      s->weight_decay, s->eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

}  // extern "C"
