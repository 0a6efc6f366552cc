//! Runs a plugin as psann does, and tries to break it.
