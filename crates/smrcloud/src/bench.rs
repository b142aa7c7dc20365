//! Load for a service: YCSB workloads in, latencies out. Everything here is a pure value; the command drives it.
//!
//! - [`workload`]: which work, read from a YCSB property file;
//! - [`generator`]: that work, operation by operation, from a seed;
//! - [`histogram`]: how long operations took;
//! - [`load`]: one closed-loop client; [`report`]: what all of them saw; [`cost`]: what it took the replicas.

pub(crate) mod cost;
pub(crate) mod generator;
pub(crate) mod histogram;
pub(crate) mod load;
pub(crate) mod report;
pub(crate) mod workload;
