// What c10d's ProcessGroupGloo.hpp names of gloo, declared just far enough to be compiled: libtorch contains gloo, but
// its wheel ships none of gloo's headers. Our code neither makes nor looks into objects of these types; it hands
// libtorch's own pointers back to libtorch.
#pragma once

#include <chrono>
#include <memory>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = 0;
};

}  // namespace transport
}  // namespace gloo
