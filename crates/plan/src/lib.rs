//! From the customer's wish to a blueprint, with a reason for each choice.
//!
//! ```text
//!   service.toml --Wish::parse--> Wish --plan(wish, facts)--> Blueprint
//!                      |                       |
//!                      WishError               Refusal: why not, and what could be served instead
//! ```
//!
//! - [`wish`]: what the customer asks for, in the customer's words;
//! - [`planner`]: decides how to serve it, from nothing but the wish and the facts handed in;
//! - [`blueprint`]: everything decided; what is deployed and kept;
//! - [`problem`]: a mistake in a file, with its place and what would be right;
//! - [`words`]: text that people read: wrapping, quoting, near misses.

pub mod blueprint;
pub mod planner;
pub mod problem;
pub mod wish;
pub mod words;

pub use blueprint::{Blueprint, Choice};
pub use planner::{Facts, ProtocolFact, Refusal, plan};
pub use problem::{Problem, Problems};
pub use wish::{Application, Durability, FaultModel, ServiceName, TrustedHardware, Wish, WishError};
