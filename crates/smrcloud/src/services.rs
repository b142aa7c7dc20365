//! What several commands need: services by name or by descriptor file, clients, a runtime.

use std::path::Path;
use std::sync::Arc;

use smr_client::{Client, Config, ServiceProofs};
use smr_cloud::{Home, Record, ServiceDir};
use smr_crypto::IdentityKey;
use smr_plan::ServiceName;
use smr_wire::Descriptor;
use tokio::runtime::Runtime;

use crate::output::Trouble;

/// Bytes of a descriptor file at most.
const DESCRIPTOR_BYTES_MAX: u64 = 1 << 20;

/// Where services of this user are kept.
pub(crate) fn home() -> Result<Home, Trouble> {
    Home::from_env().map_err(Trouble::new)
}

/// A service's name.
pub(crate) fn name(text: &str) -> Result<ServiceName, Trouble> {
    ServiceName::new(text).map_err(Trouble::new)
}

/// A service that was deployed from here, and what is kept of it.
pub(crate) fn service(text: &str) -> Result<(ServiceDir, Record), Trouble> {
    if is_file(text) {
        return Err(Trouble::new(format!("{text} is a file, but this takes the name of a service")).help(
            "replicas answer their administrator only, whose key is kept where `smrcloud up` was run; a descriptor \
             serves `call` and `bench`",
        ));
    }
    let home = home()?;
    let dir = home.service(&name(text)?);
    if let Some(record) = dir.record().map_err(Trouble::new)? {
        return Ok((dir, record));
    }
    let known = home.services().map_err(Trouble::new)?;
    let known: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
    let trouble = Trouble::new(format!("there is no service {text} here"));
    Err(match known.as_slice() {
        [] => trouble.help("`smrcloud up FILE` deploys one; examples/kv.toml is a start"),
        known => trouble.help(format!("there are: {}", known.join(", "))),
    })
}

/// What a client needs of a service: from a file with its descriptor, or of one that was deployed from here.
pub(crate) fn descriptor(name_or_file: &str) -> Result<Descriptor, Trouble> {
    let path = Path::new(name_or_file);
    if !is_file(name_or_file) {
        let descriptor = service(name_or_file)?.1.descriptor;
        return descriptor.ok_or_else(|| {
            Trouble::new(format!("{name_or_file} has no key yet"))
                .help("wait until `smrcloud up` says that it is ready")
        });
    }
    let trouble = |error: String| {
        Trouble::new(format!("{name_or_file}: {error}")).help("`smrcloud descriptor NAME` prints such a file")
    };
    let length = std::fs::metadata(path).map_err(|error| trouble(error.to_string()))?.len();
    if length > DESCRIPTOR_BYTES_MAX {
        return Err(trouble("too long for a descriptor".to_string()));
    }
    let text = std::fs::read(path).map_err(|error| trouble(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| trouble(error.to_string()))
}

/// Whether an argument names a file: no service's name looks so.
fn is_file(name_or_file: &str) -> bool {
    name_or_file.contains(['/', '.'])
}

/// A runtime for a command's own work.
pub(crate) fn runtime() -> Result<Runtime, Trouble> {
    Runtime::new().map_err(Trouble::new)
}

/// A client with a key of its own.
pub(crate) fn client(descriptor: Descriptor, config: Config) -> Result<Client, Trouble> {
    Client::connect(descriptor, fresh_key()?, config).map_err(Trouble::new)
}

/// A client with a key of its own that shares what it knows of signed blocks.
pub(crate) fn client_sharing(
    descriptor: Descriptor,
    config: Config,
    proofs: &Arc<ServiceProofs>,
) -> Result<Client, Trouble> {
    Client::connect_sharing(descriptor, fresh_key()?, config, proofs.clone()).map_err(Trouble::new)
}

fn fresh_key() -> Result<IdentityKey, Trouble> {
    let seed = smr_client::connect::tls::system_seed();
    let seed = seed.ok_or_else(|| Trouble::new("the system gives no chance for a key"))?;
    Ok(IdentityKey::from_seed(&seed))
}
