//! Deterministic multithreading: every lock is granted in the same order on every replica.
