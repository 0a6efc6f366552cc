// How failures cross into Rust: as a status of 1 and the text behind psann_last_error.

#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>

namespace psann {

// One for all units, so that the text is found whichever unit failed.
inline thread_local std::string last_error;

template <typename Work>
int guarded(Work&& work) {
  try {
    work();
    return 0;
  } catch (const c10::Error& error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an unknown C++ exception";
  }
  return 1;
}

}  // namespace psann
