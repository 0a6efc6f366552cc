// See inference_kernels.h. Compiled once per instruction set; PSANN_INFERENCE_KERNELS names the table of this unit.

#include "inference_kernels.h"

#include "rows/attention.h"
#include "rows/gates.h"
#include "rows/normaliser.h"
#include "rows/product.h"

namespace psann {

extern const InferenceKernels PSANN_INFERENCE_KERNELS;
const InferenceKernels PSANN_INFERENCE_KERNELS = {product<float>, product<Half>, attention, normalisers, swiglu, gelu};

}  // namespace psann
