//! Consensus protocols as pure values: input in, effects out.
