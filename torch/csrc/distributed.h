// The handles by which Rust holds objects of c10d.

#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

struct PsannStore {
  c10::intrusive_ptr<c10d::Store> store;
};

struct PsannBackend {
  c10::intrusive_ptr<c10d::Backend> backend;
};

struct PsannWork {
  c10::intrusive_ptr<c10d::Work> work;
};
