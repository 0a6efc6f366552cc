// The C interface to c10d: its key-value store over TCP, process groups over Gloo, and sends and receives on any
// group. Every function returns 0, or 1 with a message for psann_last_error: no exception crosses. Handles are freed
// by their owner; arguments were checked by the caller.

// Before the first header of c10d: it hides ProcessGroupGloo otherwise.
#define USE_C10D_GLOO

#include "distributed.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <c10/util/Logging.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "guard.h"

using std::chrono::milliseconds;

namespace {

// c10d logs each failed connection with a backtrace before it throws. What it throws becomes our message; the log is
// for those who ask for it.
void be_quiet() {
  if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = 3;
}

}  // namespace

extern "C" {

// `listener` is a bound socket that the store takes over and serves on, or -1 for a client.
int psann_store_connect(const char* address, uint16_t port, int listener, int64_t timeout_ms, PsannStore** result) {
  return psann::guarded([&] {
    be_quiet();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = listener >= 0;
    if (listener >= 0) options.masterListenFd = listener;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout_ms);
    *result = new PsannStore{c10::make_intrusive<c10d::TCPStore>(address, options)};
  });
}

int psann_store_prefixed(const PsannStore* store, const char* prefix, PsannStore** result) {
  return psann::guarded(
      [&] { *result = new PsannStore{c10::make_intrusive<c10d::PrefixStore>(prefix, store->store)}; });
}

// The same store through a connection of its own.
int psann_store_clone(const PsannStore* store, PsannStore** result) {
  return psann::guarded([&] { *result = new PsannStore{store->store->clone()}; });
}

void psann_store_free(PsannStore* store) {
  psann::guarded([&] { delete store; });
}

int psann_store_set(const PsannStore* store, const char* key, const uint8_t* bytes, size_t count) {
  return psann::guarded([&] { store->store->set(key, std::vector<uint8_t>(bytes, bytes + count)); });
}

// `bytes` is freed with psann_bytes_free.
int psann_store_get(const PsannStore* store, const char* key, uint8_t** bytes, size_t* count) {
  return psann::guarded([&] {
    const auto value = store->store->get(key);
    auto copy = std::make_unique<uint8_t[]>(value.size());
    std::copy(value.begin(), value.end(), copy.get());
    *count = value.size();
    *bytes = copy.release();
  });
}

void psann_bytes_free(uint8_t* bytes) { delete[] bytes; }

int psann_store_add(const PsannStore* store, const char* key, int64_t amount, int64_t* sum) {
  return psann::guarded([&] { *sum = store->store->add(key, amount); });
}

int psann_store_delete(const PsannStore* store, const char* key, int* existed) {
  return psann::guarded([&] { *existed = store->store->deleteKey(key); });
}

int psann_store_check(const PsannStore* store, const char* key, int* exists) {
  return psann::guarded([&] { *exists = store->store->check({key}); });
}

int psann_store_wait(const PsannStore* store, const char* key, int64_t timeout_ms) {
  return psann::guarded([&] { store->store->wait({key}, milliseconds(timeout_ms)); });
}

// `address` is this machine's own on the network to use; null leaves the choice to libtorch.
int psann_gloo(const PsannStore* store, int rank, int size, int64_t timeout_ms, const char* address, int threads,
               PsannBackend** result) {
  return psann::guarded([&] {
    using c10d::ProcessGroupGloo;
    const milliseconds timeout(timeout_ms);
    auto options =
        address ? ProcessGroupGloo::Options::create(timeout) : ProcessGroupGloo::Options::create_default(timeout);
    if (address) options->devices.push_back(ProcessGroupGloo::createDeviceForHostname(address, false));
    options->threads = threads;
    *result = new PsannBackend{c10::make_intrusive<ProcessGroupGloo>(store->store, rank, size, options)};
  });
}

void psann_backend_free(PsannBackend* backend) {
  psann::guarded([&] { delete backend; });
}

int psann_send(const PsannBackend* backend, const at::Tensor* tensor, int peer, int tag, PsannWork** result) {
  return psann::guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    *result = new PsannWork{backend->backend->send(tensors, peer, tag)};
  });
}

int psann_receive(const PsannBackend* backend, const at::Tensor* tensor, int peer, int tag, PsannWork** result) {
  return psann::guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    *result = new PsannWork{backend->backend->recv(tensors, peer, tag)};
  });
}

// What is sent and received between the two is one operation, whose work the second returns.
int psann_start_coalescing(const PsannBackend* backend) {
  return psann::guarded([&] { backend->backend->startCoalescing(); });
}

int psann_end_coalescing(const PsannBackend* backend, PsannWork** result) {
  return psann::guarded([&] { *result = new PsannWork{backend->backend->endCoalescing()}; });
}

// Each of `owns` goes to all ranks, which put them one after the other in each of `wholes`.
int psann_gather_even(const PsannBackend* backend, const at::Tensor* const* wholes, const at::Tensor* const* owns,
                      size_t count, PsannWork** result) {
  return psann::guarded([&] {
    std::vector<at::Tensor> outputs, inputs;
    for (size_t i = 0; i < count; ++i) {
      outputs.push_back(*wholes[i]);
      inputs.push_back(*owns[i]);
    }
    *result = new PsannWork{backend->backend->allgather_into_tensor_coalesced(outputs, inputs)};
  });
}

// Without a timeout (0): on a GPU, makes the current stream wait. Fails also when the work was aborted.
int psann_work_wait(const PsannWork* work, int64_t timeout_ms) {
  return psann::guarded(
      [&] { TORCH_CHECK(work->work->wait(milliseconds(timeout_ms)), "the operation was aborted"); });
}

int psann_work_completed(const PsannWork* work, int* completed) {
  return psann::guarded([&] { *completed = work->work->isCompleted(); });
}

int psann_work_abort(const PsannWork* work) {
  return psann::guarded([&] { work->work->abort(); });
}

void psann_work_free(PsannWork* work) {
  psann::guarded([&] { delete work; });
}

}  // extern "C"
