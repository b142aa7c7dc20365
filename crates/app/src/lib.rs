//! What an application author implements, and the host that runs it in the agreed order.
//!
//! - [`application`]: the trait, and what a command may know of the world;
//! - [`text`]: the convention for commands that people type;
//! - [`host`]: admits decided commands to the deterministic scheduler in slot order, takes and restores snapshots;
//! - [`builtin`]: applications that come with the house, by name.
//!
//! ```
//! use smr_app::{Application, Context, RestoreError};
//! use smr_uds::Mutex;
//!
//! struct Counter(Mutex<u64>);
//!
//! impl Application for Counter {
//!     async fn execute(&self, _: &Context, _command: &[u8]) -> Vec<u8> {
//!         let mut count = self.0.lock().await;
//!         *count += 1;
//!         count.to_string().into_bytes()
//!     }
//!
//!     fn snapshot(&self) -> Vec<u8> {
//!         self.0.at_rest(|count| count.to_le_bytes().to_vec()).expect("no command runs meanwhile")
//!     }
//!
//!     fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
//!         let bytes = snapshot.try_into().map_err(|_| RestoreError::new("8 bytes are a counter"))?;
//!         self.0.at_rest(|count| *count = u64::from_le_bytes(bytes)).expect("no command runs meanwhile");
//!         Ok(())
//!     }
//! }
//! ```

pub mod application;
pub mod builtin;
pub mod host;
pub mod known_bugs;
pub mod text;

pub use application::{Application, Context, Place, RestoreError, Rng, Unavailable};
pub use host::{
    AnyHost, CommandFault, CommandOutcome, EventSink, Host, HostCommand, HostConfig, HostError, HostEvent,
    LateOutcome, SlotWork,
};
