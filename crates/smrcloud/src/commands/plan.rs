//! `smrcloud plan`: what would be built, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use smr_plan::{Blueprint, Facts, ProtocolFact, Wish};
use smr_wire::client::FaultModel as Model;

use crate::output::{Output, Trouble};

/// Arguments of `plan`.
#[derive(Args)]
pub(crate) struct Plan {
    /// The service description.
    description: PathBuf,
    /// Show every choice with its whole reason.
    #[arg(long)]
    why: bool,
}

impl Plan {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        output.result(&blueprint(&self.description)?, |blueprint| {
            if self.why { blueprint.render() } else { short(blueprint, &self.description) }
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// The plan of a description in a few lines, and how to see more of it.
pub(crate) fn short(blueprint: &Blueprint, description: &Path) -> String {
    let more = format!("`smrcloud plan {} --why` shows every choice with its whole reason.", description.display());
    format!("{}\n\n{more}", blueprint.render_short())
}

/// Reads a service description and plans it from what is known here and now.
pub(crate) fn blueprint(description: &Path) -> Result<Blueprint, Trouble> {
    let text = std::fs::read_to_string(description).map_err(|error| {
        Trouble::new(format!("{}: {error}", description.display()))
            .help("name a service description, such as examples/kv.toml")
    })?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let facts = facts(u32::try_from(cores).unwrap_or(u32::MAX));
    planned(&text, &description.display().to_string(), &facts)
}

fn planned(text: &str, file: &str, facts: &Facts) -> Result<Blueprint, Trouble> {
    let builtins: Vec<&str> = smr_app::builtin::registry().iter().map(|builtin| builtin.name).collect();
    let wish = Wish::parse(text, file, &builtins).map_err(Trouble::in_file)?;
    smr_plan::plan(&wish, facts).map_err(|refusal| {
        let problem = refusal.problem(&wish, file, text);
        Trouble::in_file(problem.into())
    })
}

/// What the planner may know: the protocols there are, and a machine with so many cores.
fn facts(cores: u32) -> Facts {
    let protocols = smr_consensus::registry::PROTOCOLS.iter().map(|name| fact(&name.profile())).collect();
    Facts { protocols, cores }
}

fn fact(profile: &smr_consensus::profile::Profile) -> ProtocolFact {
    ProtocolFact {
        name: profile.name.to_owned(),
        model: match profile.model {
            Model::Crash => smr_plan::FaultModel::Crash,
            Model::Hybrid => smr_plan::FaultModel::Hybrid,
            Model::Byzantine => smr_plan::FaultModel::Byzantine,
        },
        per_fault: profile.per_fault,
        faults_max: profile.faults_max,
        strength: profile.strength.to_owned(),
    }
}

#[cfg(test)]
mod tests;
