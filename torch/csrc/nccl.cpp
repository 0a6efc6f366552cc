// The constructor of a process group over NCCL, the one thing that needs headers of CUDA and NCCL: whatever the group
// then does goes through c10d's Backend, in distributed.cpp.

#define USE_CUDA
#define USE_C10D_NCCL

#include "distributed.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <chrono>

#include "guard.h"

extern "C" {

// Blocks until all ranks are connected.
int psann_nccl(const PsannStore* store, int rank, int size, int64_t timeout_ms, int device, PsannBackend** result) {
  return psann::guarded([&] {
    // High priority: a gather that overlaps with a block's computation should not wait behind it.
    auto options = c10d::ProcessGroupNCCL::Options::create(true);
    options->timeout = std::chrono::milliseconds(timeout_ms);
    auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(store->store, rank, size, options);
    const at::Device bound(at::kCUDA, static_cast<c10::DeviceIndex>(device));
    group->setBoundDeviceId(bound);
    // Without it ranks would connect in their first operation, and a failure would look like that operation's.
    group->eagerConnectSingleDevice(bound);
    *result = new PsannBackend{group};
  });
}

}  // extern "C"
