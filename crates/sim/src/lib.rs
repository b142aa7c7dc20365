//! The simulated edge: seed in, history out, with faults, adversaries and checks.
