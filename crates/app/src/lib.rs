//! What an application author implements, and the host that runs it in the agreed order.
//!
//! - [`application`]: the trait, and what a command may know of the world;
//! - [`text`]: the convention for commands that people type;
//! - [`state`]: containers that checkpoint themselves, for whatever an application keeps;
//! - [`host`]: admits decided commands to the deterministic scheduler in slot order, takes and restores checkpoints;
//! - [`builtin`]: applications that come with the house, by name.
//!
//! ```
//! use smr_app::state::{Counter, State};
//! use smr_app::{Application, Context};
//!
//! struct Visits {
//!     state: State,
//!     count: Counter,
//! }
//!
//! impl Visits {
//!     fn new() -> Visits {
//!         let mut state = State::new();
//!         let count = state.counter("count");
//!         Visits { state, count }
//!     }
//! }
//!
//! impl Application for Visits {
//!     async fn execute(&self, _: &Context, _command: &[u8]) -> Vec<u8> {
//!         self.count.add(1).await.map_or(b"too many".to_vec(), |count| count.to_string().into_bytes())
//!     }
//!
//!     fn state(&self) -> Option<&State> {
//!         Some(&self.state)
//!     }
//! }
//! ```

pub mod application;
pub mod builtin;
pub mod host;
pub mod known_bugs;
pub mod state;
pub mod text;

pub use application::{Application, Context, Place, RestoreError, Rng, Unavailable};
pub use host::{
    AnyHost, CheckpointFailure, CommandFault, CommandOutcome, EventSink, Host, HostCommand, HostConfig,
    HostError, HostEvent, LateOutcome, SlotWork, Strategy,
};
