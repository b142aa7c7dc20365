//! Evidence that a core's key was born in this boot of this machine, from its TPM 2.0. Once for each core: a counter goes up
//! by one, and the TPM certifies its value beside the key. A TPM does not count messages: its commands bind no value to
//! what they count, it takes milliseconds, and its memory wears out.
//!
//! Nothing is kept outside the TPM: its attestation key is made anew from its seed, and is the same one.
//! What is certified, and whether it was: [`smr_crypto::boot`].

mod command;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use smr_crypto::boot::Evidence;
use smr_crypto::{Digest, PublicKey};

use command::{Answer, Command, HANDLE_UNKNOWN, NV_DEFINED, RESPONSE_BYTES_MAX};

/// Where a TPM is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// The system's own, with its resource manager: `/dev/tpmrm0`.
    File(PathBuf),
    /// One that is software, which takes commands as they are: `swtpm socket --server type=tcp`.
    Address(SocketAddr),
}

impl FromStr for Device {
    type Err = BadDevice;

    fn from_str(text: &str) -> Result<Device, BadDevice> {
        if text.starts_with('/') {
            return Ok(Device::File(text.into()));
        }
        text.parse().map(Device::Address).map_err(|_| BadDevice)
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::File(path) => path.display().fmt(f),
            Device::Address(address) => address.fmt(f),
        }
    }
}

/// Neither a path nor an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a TPM is reached at a path such as /dev/tpmrm0, or an address such as 127.0.0.1:2321")]
pub struct BadDevice;

/// What is certified of a core: which key, and whose.
#[must_use]
pub fn statement(replica: &PublicKey, core: &PublicKey) -> Digest {
    Digest::of("SMRCLOUD-CORE-BOOT-V1", &[&replica.0, &core.0])
}

/// Counts up the machine's counter of boots, which is made if it is not there, and has its value certified beside
/// `statement`.
///
/// # Errors
/// The TPM cannot be reached, or does not do it.
pub fn certify(device: &Device, statement: &Digest) -> Result<Evidence, TpmError> {
    let mut tpm = Tpm { device: device.clone(), channel: Channel::open(device)? };
    if let Err(TpmError::Refused { code: HANDLE_UNKNOWN, .. }) = tpm.ask(&Command::ReadCounterPublic) {
        match tpm.ask(&Command::DefineCounter) {
            // Another replica of this machine made it in the meantime.
            Err(TpmError::Refused { code: NV_DEFINED, .. }) => {}
            defined => drop(defined?),
        }
    }
    tpm.ask(&Command::Increment)?;
    let (handle, key) = tpm.ask(&Command::CreateKey)?.key().ok_or_else(|| tpm.strange())?;
    let certified = tpm.ask(&Command::Certify { key: handle, statement: *statement });
    // A TPM has room for a few keys only.
    let flushed = tpm.ask(&Command::Flush(handle));
    let evidence = certified?.evidence(key).filter(|evidence| evidence.certifies(statement));
    flushed?;
    evidence.ok_or_else(|| tpm.strange())
}

/// How long a software TPM may take for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Times that a command is given which the TPM has no time for.
const ATTEMPTS: u32 = 50;

/// How long it is left alone in between.
const PAUSE: Duration = Duration::from_millis(20);

struct Tpm {
    device: Device,
    channel: Channel,
}

impl Tpm {
    fn ask(&mut self, command: &Command) -> Result<Answer, TpmError> {
        let bytes = command.encode();
        for _ in 0..ATTEMPTS {
            let response = self.channel.exchange(&bytes).map_err(|error| self.unreachable(error))?;
            let answer = Answer::read(&response).ok_or_else(|| self.strange())?;
            match answer.code {
                0 => return Ok(answer),
                code if command::is_busy(code) => std::thread::sleep(PAUSE),
                code => {
                    return Err(TpmError::Refused {
                        device: self.device.clone(),
                        what: command.name(),
                        code,
                    });
                }
            }
        }
        Err(self.unreachable(io::Error::new(io::ErrorKind::TimedOut, "it is busy all the time")))
    }

    fn unreachable(&self, error: io::Error) -> TpmError {
        TpmError::Unreachable { device: self.device.clone(), error }
    }

    fn strange(&self) -> TpmError {
        TpmError::Strange { device: self.device.clone() }
    }
}

enum Channel {
    File(File),
    Stream(TcpStream),
}

impl Channel {
    fn open(device: &Device) -> Result<Channel, TpmError> {
        let open = || match device {
            Device::File(path) => OpenOptions::new().read(true).write(true).open(path).map(Channel::File),
            Device::Address(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Ok(Channel::Stream(stream))
            }
        };
        open().map_err(|error| TpmError::Unreachable { device: device.clone(), error })
    }

    /// Gives a command and takes the response: whole, from a device; with its length in its header, from a stream.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let mut response = vec![0; RESPONSE_BYTES_MAX];
        let length = match self {
            Channel::File(file) => {
                file.write_all(command)?;
                file.read(&mut response)?
            }
            Channel::Stream(stream) => {
                stream.write_all(command)?;
                stream.read_exact(&mut response[..command::HEADER_BYTES])?;
                let length = command::length(&response).filter(|length| *length <= RESPONSE_BYTES_MAX);
                let length = length.ok_or(io::ErrorKind::InvalidData)?;
                stream.read_exact(&mut response[command::HEADER_BYTES..length])?;
                length
            }
        };
        response.truncate(length);
        Ok(response)
    }
}

/// Why there is no evidence of a boot.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// There is no TPM, or not for this user.
    #[error("the TPM at {device} cannot be reached: {error}")]
    Unreachable {
        /// Where.
        device: Device,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It says no.
    #[error("the TPM at {device} does not {what}: response code {code:#x}")]
    Refused {
        /// Where.
        device: Device,
        /// What it was to do.
        what: &'static str,
        /// Its reason.
        code: u32,
    },
    /// It does not answer as a TPM does, or its counter or key is another one than they should be.
    #[error(
        "what the TPM at {device} certifies is not what it was asked for; if another program has made an index at \
         {:#x}, remove it",
        smr_crypto::boot::COUNTER_INDEX
    )]
    Strange {
        /// Where.
        device: Device,
    },
}

#[cfg(test)]
mod tests;
