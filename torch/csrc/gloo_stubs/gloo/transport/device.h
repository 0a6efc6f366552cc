// Stands in for gloo's header of this name; see ../context.h.
#pragma once

namespace gloo::transport {

class Device;

}  // namespace gloo::transport
