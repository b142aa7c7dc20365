//! The channel to one contact: made, proved to be the service's, then frames both ways until it breaks.
//!
//! ```text
//!   TCP -> TLS (any key) -> Hello -> Welcome: certificate good for that key? -> frames
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ClientConfig;
use smr_crypto::PublicKey;
use smr_wire::client::{
    BadCertificate, EndpointCertificate, FromContact, ProofKind, ToContact, WIRE_VERSION,
};
use smr_wire::{ServiceId, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::frame::{read_frame, write_frame};
use super::tls;
use crate::invocation::ContactId;
use crate::proof::ServiceProofs;

/// Frames that may wait for a contact to take them; one that is so far behind is given up.
pub(super) const FRAMES_MAX: usize = 1024;

/// What a link needs to know.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) service: ServiceId,
    pub(super) proofs: Arc<ServiceProofs>,
    /// What may prove a reply.
    pub(super) accepts: Vec<ProofKind>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) connect: Duration,
    pub(super) frame_bytes_max: usize,
}

/// What a link says to the engine.
pub(super) struct Said {
    pub(super) contact: ContactId,
    /// Tells this link from earlier ones to the same contact.
    pub(super) link: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// The contact is the service's: here is its certificate, and the key of this channel.
    Connected(Box<EndpointCertificate>, PublicKey),
    Frame(Box<FromContact>),
    Ended(String),
    /// Ended because the contact is not the service's.
    Estranged(String),
}

/// A running link; ends when dropped.
pub(super) struct Link {
    pub(super) id: u64,
    outbox: mpsc::Sender<ToContact>,
    task: tokio::task::JoinHandle<()>,
}

impl Link {
    /// Begins to connect to `address`, and says what happens.
    pub(super) fn start(
        settings: Settings,
        contact: ContactId,
        id: u64,
        address: String,
        said: mpsc::Sender<Said>,
    ) -> Link {
        let (outbox, frames) = mpsc::channel(FRAMES_MAX);
        let says = Says { contact, link: id, said };
        let task = tokio::spawn(async move {
            let trouble = run(&settings, &address, frames, &says).await;
            let why = format!("{address}: {trouble}");
            says.say(if trouble.is_estrangement() { What::Estranged(why) } else { What::Ended(why) }).await;
        });
        Link { id, outbox, task }
    }

    /// Gives `frame` to the link; false if it has too many already.
    pub(super) fn send(&self, frame: ToContact) -> bool {
        self.outbox.try_send(frame).is_ok()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Says {
    contact: ContactId,
    link: u64,
    said: mpsc::Sender<Said>,
}

impl Says {
    async fn say(&self, what: What) {
        // Without an engine there is nobody left to tell.
        let _gone = self.said.send(Said { contact: self.contact, link: self.link, what }).await;
    }
}

/// Lives as long as the channel; says why it ended.
async fn run(settings: &Settings, address: &str, frames: mpsc::Receiver<ToContact>, says: &Says) -> Trouble {
    let opened = tokio::time::timeout(settings.connect, open(settings, address)).await;
    let opened = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(trouble)) => return trouble,
        Err(_) => return Trouble::Slow,
    };
    says.say(What::Connected(Box::new(opened.certificate), opened.key)).await;
    let received = receive(opened.reader, settings.frame_bytes_max, says);
    let sent = send(opened.writer, frames);
    tokio::select! {
        trouble = received => trouble,
        trouble = sent => trouble,
    }
}

struct Opened<R, W> {
    reader: BufReader<R>,
    writer: BufWriter<W>,
    certificate: EndpointCertificate,
    key: PublicKey,
}

async fn open(
    settings: &Settings,
    address: &str,
) -> Result<Opened<impl AsyncRead + Unpin + use<>, impl AsyncWrite + Unpin + use<>>, Trouble> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (stream, peer) = tls::connect(&settings.tls, stream).await?;
    let key = peer.key.ok_or(Trouble::NoKey)?;
    let (reader, writer) = tokio::io::split(stream);
    let (mut reader, mut writer) = (BufReader::new(reader), BufWriter::new(writer));
    let hello = ToContact::Hello { service: settings.service, version: WIRE_VERSION };
    write_frame(&mut writer, &smr_wire::encode(&hello)).await?;
    writer.flush().await?;
    let bytes = read_frame(&mut reader, settings.frame_bytes_max).await?.ok_or(Trouble::Ended)?;
    let certificate = match decode(&bytes)? {
        FromContact::Welcome { version, .. } if version != WIRE_VERSION => {
            return Err(Trouble::Version(version));
        }
        FromContact::Welcome { certificate, .. } => certificate.ok_or(Trouble::NotReady)?,
        FromContact::Hint { hint, .. } => return Err(Trouble::Hint(hint)),
        FromContact::Reply(_) => return Err(Trouble::NoWelcome),
    };
    certificate.check(settings.service, settings.proofs.key(), &key, now())?;
    Ok(Opened { reader, writer, certificate, key })
}

async fn receive<R: AsyncRead + Unpin>(mut reader: BufReader<R>, bytes_max: usize, says: &Says) -> Trouble {
    loop {
        let frame = match read_frame(&mut reader, bytes_max).await {
            Ok(Some(bytes)) => decode(&bytes),
            Ok(None) => return Trouble::Ended,
            Err(error) => return error.into(),
        };
        match frame {
            Ok(frame) => says.say(What::Frame(Box::new(frame))).await,
            Err(trouble) => return trouble,
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(
    mut writer: BufWriter<W>,
    mut frames: mpsc::Receiver<ToContact>,
) -> Trouble {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = write_all(&mut writer, frame, &mut frames).await {
            return error.into();
        }
    }
    Trouble::Ended
}

/// Writes `frame` and whatever else is ready, then flushes once.
async fn write_all<W: AsyncWrite + Unpin>(
    writer: &mut BufWriter<W>,
    frame: ToContact,
    frames: &mut mpsc::Receiver<ToContact>,
) -> io::Result<()> {
    let mut next = Some(frame);
    while let Some(frame) = next {
        write_frame(writer, &smr_wire::encode(&frame)).await?;
        next = frames.try_recv().ok();
    }
    writer.flush().await
}

fn decode(bytes: &[u8]) -> Result<FromContact, Trouble> {
    smr_wire::decode(bytes, bytes.len()).map_err(|error| Trouble::Malformed(error.to_string()))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Why a channel was not made, or ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no connection in time")]
    Slow,
    #[error("the other end closed the connection")]
    Ended,
    #[error("the other end shows no key")]
    NoKey,
    #[error(
        "the other end speaks version {0} of the protocol, this client version {WIRE_VERSION}; use a client of \
             the same release"
    )]
    Version(u16),
    #[error("the service is not ready: it has no key yet")]
    NotReady,
    #[error("{0}")]
    Hint(smr_wire::Hint),
    #[error("the other end does not begin with a welcome")]
    NoWelcome,
    #[error("{0}")]
    Certificate(#[from] BadCertificate),
    #[error("the other end sent what is no frame: {0}")]
    Malformed(String),
}

impl Trouble {
    /// Whether it shows that the other end is not of the service that the descriptor names. A certificate that has
    /// expired, or is for another channel, was signed by the service nevertheless.
    fn is_estrangement(&self) -> bool {
        matches!(self, Trouble::Certificate(BadCertificate::OtherService | BadCertificate::Signature))
    }
}
