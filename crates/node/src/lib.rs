//! The real edge of a replica: sockets, timers, workers, files.
