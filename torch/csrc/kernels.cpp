// See kernels.h. Compiled once per instruction set; PSANN_KERNELS names the table that this unit defines.

#include "kernels.h"

#include "rows/loss.h"
#include "rows/norm.h"
#include "rows/rotary.h"
#include "rows/sine.h"
#include "rows/vector.h"

namespace psann {
// Everything has internal linkage: three units hold the same names.
namespace {

template <typename Element>
constexpr RowKernels<Element> kRows = {
    sine_forward<Element>, sine_backward<Element>, rms_forward<Element>,        rms_backward<Element>,
    rotate<Element>,       cross_entropy<Element>, embedding_backward<Element>, scaled_add<Element>,
    scaled_add_backward<Element>, column_sums<Element>};

}  // namespace

extern const Kernels PSANN_KERNELS;
const Kernels PSANN_KERNELS = {kRows<float>, kRows<Half>};

}  // namespace psann
