//! The administrator's side.

use std::io;
use std::time::Duration;

use smr_client::connect::frame::{read_frame, write_frame};
use smr_client::connect::tls::ChannelKey;
use smr_crypto::PublicKey;
use smr_replica::Voucher;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Answer, Ask, NodeStatus, Order};
use crate::channel::{Dialer, Role};
use crate::statement::SignedServiceStatement;

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A connection to one replica, made with the administrator's key and pinned to the replica's.
pub struct Client {
    reader: BufReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    patience: Duration,
}

impl Client {
    /// Connects to the replica at `address` whose channel key is `replica`. Every step, this and each question
    /// later, takes at most `patience`.
    ///
    /// # Errors
    /// [`OperatorError::Unreachable`].
    pub async fn connect(
        address: &str,
        replica: PublicKey,
        administrator: &ChannelKey,
        patience: Duration,
    ) -> Result<Client, OperatorError> {
        let dialer = Dialer::new(administrator, replica, Role::Operator, address);
        let stream = dialer.dial(patience).await.map_err(OperatorError::Unreachable)?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Client { reader: BufReader::new(reader), writer, patience })
    }

    /// How the replica is.
    ///
    /// # Errors
    /// The connection fails or the answer is another one.
    pub async fn status(&mut self) -> Result<NodeStatus, OperatorError> {
        match self.ask(Ask::Status).await? {
            Answer::Status(status) => Ok(*status),
            other => Err(unexpected(other)),
        }
    }

    /// What the replica says the service's key is; none while there is none. To be verified by the caller.
    ///
    /// # Errors
    /// The connection fails or the answer is another one.
    pub async fn service(&mut self) -> Result<Option<SignedServiceStatement>, OperatorError> {
        match self.ask(Ask::Service).await? {
            Answer::Service(statement) => Ok(statement),
            other => Err(unexpected(other)),
        }
    }

    /// Vouches for the key of the replica's trusted core, which was begun anew.
    ///
    /// # Errors
    /// The connection fails or the answer is another one.
    pub async fn vouch(&mut self, voucher: Voucher) -> Result<(), OperatorError> {
        match self.ask(Ask::Vouch(voucher)).await? {
            Answer::Vouched => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Tells the replica what to do where trusted cores are gone.
    ///
    /// # Errors
    /// The connection fails or the answer is another one.
    pub async fn order(&mut self, order: Order) -> Result<(), OperatorError> {
        match self.ask(Ask::Order(order)).await? {
            Answer::Ordered => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Has the replica end.
    ///
    /// # Errors
    /// The connection fails or the answer is another one.
    pub async fn stop(&mut self) -> Result<(), OperatorError> {
        match self.ask(Ask::Stop).await? {
            Answer::Stopping => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<Answer, OperatorError> {
        let exchange = async {
            write_frame(&mut self.writer, &serde_json::to_vec(&ask)?).await?;
            self.writer.flush().await?;
            read_frame(&mut self.reader, ANSWER_BYTES_MAX).await?.ok_or_else(closed)
        };
        let bytes = timeout(self.patience, exchange).await;
        let bytes =
            bytes.map_err(|_| OperatorError::Silent(self.patience))?.map_err(OperatorError::Broken)?;
        serde_json::from_slice(&bytes).map_err(|error| OperatorError::Unexpected(error.to_string()))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("operator::Client")
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")
}

fn unexpected(answer: Answer) -> OperatorError {
    match answer {
        Answer::Refused(why) => OperatorError::Refused(why),
        _ => OperatorError::Unexpected("the answer to another question".to_owned()),
    }
}

/// Why a replica could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nobody there, or not the one expected.
    #[error("cannot reach the replica: {0}")]
    Unreachable(#[source] io::Error),
    /// The connection broke.
    #[error("the connection to the replica broke: {0}")]
    Broken(#[source] io::Error),
    /// No answer in time.
    #[error("the replica did not answer within {0:?}")]
    Silent(Duration),
    /// It does not answer, for this reason.
    #[error("the replica refuses: {0}")]
    Refused(String),
    /// An answer that makes no sense; mostly another version.
    #[error("the replica's answer makes no sense: {0}")]
    Unexpected(String),
}
