//! The verbs, a line each. Every verb is one file with its arguments and what it does.

use std::process::ExitCode;

use clap::Subcommand;

use crate::output::{Output, Trouble};

/// Makes the list of verbs from one line per verb.
macro_rules! verbs {
    ($($(#[$meta:meta])* $name:ident: $module:ident;)+) => {
        $(mod $module;)+

        #[derive(Subcommand)]
        pub(crate) enum Verb {
            $($(#[$meta])* $name($module::$name),)+
        }

        impl Verb {
            /// Does it.
            pub(crate) fn run(self, output: &Output) -> Result<ExitCode, Trouble> {
                match self { $(Verb::$name(arguments) => arguments.run(*output),)+ }
            }
        }
    };
}

verbs! {
    /// Show what would be built for a service description, and why; nothing is touched.
    Plan: plan;
    /// Deploy a service, and show its health until Ctrl-C.
    Up: up;
    /// Send one command to a service and check the answer's proof.
    ///
    /// Exit code 1 also stands for an answer that begins with `error: `, which is how applications that follow the
    /// convention for typed commands refuse one. A value that begins so looks the same: read values that may be
    /// anything with --json or --out, and judge them yourself.
    Call: call;
    /// Load a service with a YCSB workload and check every answer.
    Bench: bench;
    /// Show how a service's replicas are, or list all services.
    Status: status;
    /// Print what a client needs to know of a service, as JSON.
    ///
    /// `name` is for people, `service` tells services of the same name apart, `service_key` is the one key that never
    /// changes, `endpoints` are addresses of which any one that answers will do. `proofs` are the ways in which an answer
    /// may be proven to its clients: "certified" is a signature of the service's key over the answer itself; "channel" is
    /// the word of a replica, over an encrypted connection, whose channel the service's key has certified. A replica that
    /// lies can be believed by the second, so it is accepted only where machines may stop but not lie (against = "crash").
    Descriptor: descriptor;
    /// Stop a service; what it has on disk stays, unless it is to be erased.
    Down: down;
    /// Run whole replicas in the seeded simulator, with faults and adversaries.
    Simulate: simulate;
    /// Run one replica; `up` does this.
    #[command(hide = true)]
    Replica: replica;
    /// Be the trusted core of a replica; a replica does this.
    #[command(hide = true)]
    TrustedCore: trusted_core;
}
