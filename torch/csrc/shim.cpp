// The C interface between Rust and what tch lacks of libtorch. Every function returns 0, or 1 with a message for
// psann_last_error: no exception crosses. Tensors cross as pointers to at::Tensor, results as new ones that the
// caller owns. Shapes, dtypes and devices were checked by the caller.

#include <torch/csrc/autograd/autograd.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "interface.h"

using at::Tensor;
using torch::autograd::variable_list;

namespace psann {

extern const Kernels psann_kernels_default;
#ifdef PSANN_X86
extern const Kernels psann_kernels_avx2;
extern const Kernels psann_kernels_avx512;
#endif

namespace {

int best_instruction_set() {
#ifdef PSANN_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return 2;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

// The most that the user wants: how one machine runs the kernels of another.
int wanted_instruction_set() {
  const char* wanted = std::getenv("PSANN_INSTRUCTIONS");
  if (wanted == nullptr || *wanted == 0) return 2;
  const std::array<const char*, 3> names = {"default", "avx2", "avx512"};
  for (int set = 0; set < 3; ++set) {
    if (std::strcmp(wanted, names[set]) == 0) return set;
  }
  TORCH_CHECK(false, "PSANN_INSTRUCTIONS must be `default`, `avx2` or `avx512`, found `", wanted, "`");
}

}  // namespace

int instruction_set() {
  return std::min(best_instruction_set(), wanted_instruction_set());
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

// ---- RMS norm ----------------------------------------------------------------------------------------------------

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& scale, double eps) {
    at::AutoDispatchBelowADInplaceOrView below;
    Tensor y, inverse;
    if (fused_rows(x) && x.is_contiguous() && fused(scale)) {
      const int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
      y = at::empty_like(x);
      inverse = at::empty({rows}, scale.options());
      with_element(x, [&]<typename Element>(Element) {
        row_kernels<Element>().rms_forward(x.const_data_ptr<Element>(), scale.const_data_ptr<float>(),
                                           static_cast<float>(eps), y.mutable_data_ptr<Element>(),
                                           inverse.mutable_data_ptr<float>(), rows, width);
      });
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
    if (fused_rows(x) && x.is_contiguous() && fused(scale) && gradients[0].scalar_type() == x.scalar_type()) {
      const Tensor output_gradient = gradients[0].contiguous();
      Tensor x_gradient = at::empty_like(x), scale_gradient = at::empty_like(scale);
      with_element(x, [&]<typename Element>(Element) {
        row_kernels<Element>().rms_backward(x.const_data_ptr<Element>(), scale.const_data_ptr<float>(),
                                            inverse.const_data_ptr<float>(), output_gradient.const_data_ptr<Element>(),
                                            x_gradient.mutable_data_ptr<Element>(),
                                            scale_gradient.mutable_data_ptr<float>(), inverse.numel(), width);
      });
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
Tensor rotated(const Tensor& x, const Tensor& cosine, const Tensor& sine, bool halves, double direction) {
  const int64_t batch = x.size(0), time = x.size(1), heads = x.size(2), size = x.size(3);
  const bool rows_line_up = x.stride(3) == 1 && (batch == 1 || x.stride(0) == time * x.stride(1));
  if (fused_rows(x) && rows_line_up) {
    Tensor y = at::empty({batch, time, heads, size}, x.options());
    with_element(x, [&]<typename Element>(Element) {
      row_kernels<Element>().rotate(x.const_data_ptr<Element>(), x.stride(1), x.stride(2),
                                    cosine.const_data_ptr<float>(), sine.const_data_ptr<float>(),
                                    cosine.numel() / (size / 2), static_cast<float>(direction), halves,
                                    y.mutable_data_ptr<Element>(), batch * time, heads, size);
    });
    return y;
  }
  // The reference casts the tables to the dtype of x and rotates in that dtype.
  const Tensor c = cosine.to(x.scalar_type()).unsqueeze(-2), s = (sine * direction).to(x.scalar_type()).unsqueeze(-2);
  if (halves) {
    const Tensor first = x.narrow(-1, 0, size / 2), second = x.narrow(-1, size / 2, size / 2);
    return at::cat({first * c - second * s, second * c + first * s}, -1);
  }
  const Tensor pairs = x.reshape({batch, time, heads, size / 2, 2});
  const Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
  return at::stack({even * c - odd * s, odd * c + even * s}, -1).reshape(x.sizes());
}

struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& cosine, const Tensor& sine,
                        bool halves) {
    context->save_for_backward({cosine, sine});
    context->saved_data["halves"] = halves;
    at::AutoDispatchBelowADInplaceOrView below;
    return rotated(x, cosine, sine, halves, 1);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const bool halves = context->saved_data["halves"].toBool();
    return {rotated(gradients[0], saved[0], saved[1], halves, -1), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace
}  // namespace psann

extern "C" {

const char* psann_last_error() { return psann::last_error.c_str(); }

const char* psann_libtorch_version() { return TORCH_VERSION; }

// A leaf on the memory of `value`; its gradient keeps the dtype in which it is computed.
int psann_leaf(const Tensor* value, int trainable, Tensor** result) {
  return psann::guarded([&] {
    Tensor leaf = value->detach();
    if (trainable != 0) {
      leaf.set_requires_grad(true);
      leaf.set_grad_dtype(std::nullopt);
    }
    *result = psann::owned(leaf);
  });
}

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

int psann_rms_norm(const Tensor* x, const Tensor* scale, double eps, Tensor** result) {
  return psann::guarded([&] { *result = psann::owned(psann::RmsNorm::apply(*x, *scale, eps)); });
}

int psann_rotate(const Tensor* x, const Tensor* cosine, const Tensor* sine, int halves, Tensor** result) {
  return psann::guarded([&] { *result = psann::owned(psann::Rotate::apply(*x, *cosine, *sine, halves != 0)); });
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
