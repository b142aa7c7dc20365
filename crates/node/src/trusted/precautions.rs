//! What the process of a core does so that it is left alone, step by step; and the honest list of what could not be had.
//! It is given one end of a pair of sockets and the replica's log, and ends with hardly a call to the system that it may
//! make, and those for these two only.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};

/// One thing that is done for a core to be left alone.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Precaution {
    /// It runs as a user that nobody else is.
    OwnUser,
    /// Who is no administrator of the machine cannot look into its memory while it runs.
    Untraceable,
    /// Its memory is not written to a file when it fails.
    NoCoreDump,
    /// Its memory is not written to swap space.
    MemoryLocked,
    /// No program that it starts could have more rights than it.
    NoNewPrivileges,
    /// Landlock: no file, no connection and no signal to others.
    Landlock,
    /// Seccomp: of the calls to the system, it may make those that read questions, write answers and get memory.
    Seccomp,
}

impl std::fmt::Display for Precaution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precaution::OwnUser => "own user",
            Precaution::Untraceable => "untraceable",
            Precaution::NoCoreDump => "no core dump",
            Precaution::MemoryLocked => "memory locked",
            Precaution::NoNewPrivileges => "no new privileges",
            Precaution::Landlock => "landlock",
            Precaution::Seccomp => "seccomp",
        })
    }
}

/// Which precautions were taken, and which not, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Precautions {
    /// Those that hold.
    pub taken: Vec<Precaution>,
    /// Those that do not, each with the reason.
    pub missing: BTreeMap<Precaution, String>,
}

/// Bytes of a reason at most, so that one for each precaution fits into a packet.
const REASON_BYTES_MAX: usize = 300;

impl Precautions {
    /// Notes how it went.
    pub fn note(&mut self, what: Precaution, result: Result<(), String>) {
        match result {
            Ok(()) => self.taken.push(what),
            Err(mut why) => {
                why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
                self.missing.insert(what, why);
            }
        }
    }

    /// Whether one holds.
    #[must_use]
    pub fn has(&self, what: Precaution) -> bool {
        self.taken.contains(&what)
    }
}

impl std::fmt::Display for Precautions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let taken: Vec<String> = self.taken.iter().map(Precaution::to_string).collect();
        f.write_str(if taken.is_empty() { "no precautions" } else { "" })?;
        f.write_str(&taken.join(", "))?;
        for (number, (what, why)) in self.missing.iter().enumerate() {
            write!(f, "{} {what} ({why})", if number == 0 { "; missing:" } else { "," })?;
        }
        Ok(())
    }
}

/// Takes one precaution, or tells why it cannot be had.
type Step = fn() -> Result<(), String>;

/// Takes those that go before there is a secret. `but` are left out, for tests of the others.
#[must_use]
pub(super) fn before_the_key(but: &[Precaution]) -> Precautions {
    let steps: [(Precaution, Step); 5] = [
        (Precaution::Untraceable, || set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(words)),
        (Precaution::NoCoreDump, || {
            setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(words)
        }),
        (Precaution::MemoryLocked, lock_memory),
        (Precaution::NoNewPrivileges, || set_no_new_privs(true).map_err(words)),
        (Precaution::Landlock, landlock),
    ];
    let mut precautions = Precautions::default();
    for (what, step) in steps.into_iter().filter(|(what, _)| !but.contains(what)) {
        precautions.note(what, step());
    }
    precautions
}

fn words(error: Errno) -> String {
    error.to_string()
}

/// Locks what is there, and what comes later, which is as secret.
fn lock_memory() -> Result<(), String> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(|error| match error {
        Errno::NOMEM | Errno::PERM | Errno::AGAIN => {
            format!("{error}: `ulimit -l` is too small, and this replica may not raise it")
        }
        _ => error.to_string(),
    })
}

/// Takes the last one, which leaves no way to take others or to make a key.
pub(super) fn after_the_key(precautions: &mut Precautions, but: &[Precaution]) {
    if !but.contains(&Precaution::Seccomp) {
        precautions.note(Precaution::Seccomp, seccomp().map_err(|error| error.to_string()));
    }
}

/// Denies whatever Landlock can deny; a kernel that knows less of it denies less.
fn landlock() -> Result<(), String> {
    let abi = ABI::V6;
    let restrict = || {
        let rules = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
        let rules = rules.handle_access(AccessNet::from_all(abi))?.scope(Scope::from_all(abi))?;
        rules.create()?.restrict_self()
    };
    match restrict().map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Ok(()),
        Ok(RulesetStatus::PartiallyEnforced) => Err("this kernel knows only a part of it".to_owned()),
        Ok(RulesetStatus::NotEnforced) => Err("this kernel does not have it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Where a core reads and writes.
const PACKETS: u64 = 0;

/// Where it says its last words, should it fail.
const LAST_WORDS: u64 = 2;

/// Ends the process at any call to the system but these. Memory it may have, but none that can be executed.
fn seccomp() -> Result<(), seccompiler::Error> {
    let eq =
        |argument, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let no_code = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())),
        0,
    )?;
    let at = |descriptor| SeccompRule::new(vec![eq(0, descriptor)?]);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.insert(libc::SYS_read, vec![at(PACKETS)?]);
    rules.insert(libc::SYS_write, vec![at(PACKETS)?, at(LAST_WORDS)?]);
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![no_code])?]);
    // Memory for the rest, and the end: of the process, of its signal stack, of a wait for a lock of the standard library.
    let plain = [
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    rules.extend(plain.map(|call| (call, Vec::new())));
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}
