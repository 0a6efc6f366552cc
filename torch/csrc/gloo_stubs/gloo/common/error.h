// Stands in for gloo's header of this name, which the libtorch wheel does not ship; see context.h.
#pragma once
