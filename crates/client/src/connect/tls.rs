//! Channels: TLS 1.3 where each end is an Ed25519 key and nothing else. Source: RFC 8446, and RFC 7250 for raw
//! public keys. No certificates of X.509, no resumption, no early data, and a named protocol on every channel.
//!
//! ```text
//!   client end                               server end
//!   Expect::Pinned(key): only this key       ClientAuth::Optional: any key or none,
//!   Expect::Any: the caller checks later     the caller looks at Peer::key
//! ```

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Acceptor, AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use smr_crypto::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsConnector, client, server};

/// Protocol between a client and a contact.
pub const ALPN_CLIENT: &str = "smr-client/1";

/// Protocol between replicas.
pub const ALPN_PEER: &str = "smr-peer/1";

/// Protocol between an administrator and a replica.
pub const ALPN_OPERATOR: &str = "smr-operator/1";

/// What precedes the 32 bytes of an Ed25519 public key in its DER form. Source: RFC 8410, section 4.
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What precedes the 32 bytes of an Ed25519 seed in its PKCS #8 form. Source: RFC 8410, section 7.
const SECRET_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A secret key for channels only: it signs handshakes, and nothing that outlives one. Never printed.
#[derive(Clone)]
pub struct ChannelKey {
    signing: Arc<dyn SigningKey>,
    public: PublicKey,
}

impl ChannelKey {
    /// The key that `seed` stands for; the seed must come from a good source of chance and be kept secret, and must
    /// not be the seed of an identity key.
    ///
    /// # Panics
    /// Never: every 32 bytes are the seed of some key.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> ChannelKey {
        let der = PrivatePkcs8KeyDer::from([&SECRET_PREFIX[..], seed].concat());
        let signing = rustls::crypto::ring::sign::any_eddsa_type(&der);
        let signing = signing.expect("every 32 bytes are an Ed25519 seed");
        let public = signing.public_key().expect("an Ed25519 signing key knows its public key");
        let public = parse(public.as_ref()).expect("the public key is Ed25519");
        ChannelKey { signing, public }
    }

    /// What others know this key by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let public = CertificateDer::from([&PUBLIC_PREFIX[..], &self.public.0].concat());
        Arc::new(CertifiedKey::new(vec![public], Arc::clone(&self.signing)))
    }
}

impl std::fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChannelKey(of {:?})", self.public)
    }
}

/// Which key the server end must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// This one.
    Pinned(PublicKey),
    /// Any; the caller checks it afterwards, against an endpoint certificate.
    Any,
}

/// What the server end asks of the client end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// A key or none; the caller looks at it.
    Optional,
}

/// What a handshake proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The other end's key; none for an anonymous client.
    pub key: Option<PublicKey>,
    /// The protocol that both ends agreed on, one of those offered.
    pub alpn: String,
}

/// Settings of a client end with `own` key or anonymous, for the protocol `alpn`.
///
/// # Panics
/// Never: the cryptography named here has what TLS 1.3 needs.
#[must_use]
pub fn client_config(own: Option<&ChannelKey>, expect: Expect, alpn: &str) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(RawKeys { expect, algorithms: provider.signature_verification_algorithms });
    let own: Arc<dyn ResolvesClientCert> = match own {
        Some(key) => Arc::new(AlwaysResolvesClientRawPublicKeys::new(key.certified())),
        None => Arc::new(Anonymous),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(own);
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.enable_sni = false;
    // A resumed channel would carry the key of an earlier handshake; a full one costs little more.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Settings of a server end for the protocols `alpns`, the most wanted first.
///
/// # Panics
/// Never: the cryptography named here has what TLS 1.3 needs.
#[must_use]
pub fn server_config(own: &ChannelKey, client_auth: ClientAuth, alpns: &[&str]) -> Arc<ServerConfig> {
    let ClientAuth::Optional = client_auth;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        Arc::new(RawKeys { expect: Expect::Any, algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has suites of TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own.certified())));
    config.alpn_protocols = alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Makes the client end of a channel over `stream`.
///
/// # Errors
/// The stream's own, or why the handshake failed; also if the other end agreed on no protocol.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    stream: S,
) -> io::Result<(client::TlsStream<S>, Peer)> {
    // Names mean nothing here, keys do; this one is not even sent.
    let name = ServerName::try_from("smrcloud").expect("a valid name");
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(explained)?;
    let peer = peer(stream.get_ref().1)?;
    Ok((stream, peer))
}

/// Makes the server end of a channel over `stream`.
///
/// # Errors
/// The stream's own, or why the handshake failed; also if the other end names no protocol.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ServerConfig>,
    stream: S,
) -> io::Result<(server::TlsStream<S>, Peer)> {
    Arrival::hear(stream).await?.accept(config).await
}

/// A channel whose other end has said what it wants and has shown nothing yet.
pub struct Arrival<S>(StartHandshake<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Arrival<S> {
    /// Waits until the other end has said what it wants.
    ///
    /// # Errors
    /// The stream's own, or that what it said is no beginning of a handshake.
    pub async fn hear(stream: S) -> io::Result<Arrival<S>> {
        LazyConfigAcceptor::new(Acceptor::default(), stream).await.map(Arrival)
    }

    /// Whether the other end names this protocol among those it would speak.
    #[must_use]
    pub fn names(&self, alpn: &str) -> bool {
        self.0.client_hello().alpn().is_some_and(|mut named| named.any(|one| one == alpn.as_bytes()))
    }

    /// Makes the server end of the channel.
    ///
    /// # Errors
    /// As [`accept`].
    pub async fn accept(self, config: &Arc<ServerConfig>) -> io::Result<(server::TlsStream<S>, Peer)> {
        let stream = self.0.into_stream(Arc::clone(config)).await?;
        let peer = peer(stream.get_ref().1)?;
        Ok((stream, peer))
    }
}

/// The other end's key, which the handshake proved; none before the end of the handshake, or for an anonymous
/// client.
#[must_use]
pub fn peer_key(connection: &CommonState) -> Option<PublicKey> {
    connection.peer_certificates()?.first().and_then(|key| parse(key))
}

/// The TLS library shows foreign reasons in their form for debugging only.
fn explained(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))) => {
            io::Error::new(io::ErrorKind::PermissionDenied, reason.to_string())
        }
        _ => error,
    }
}

/// The TLS library refuses two ends that name different protocols, but lets pass one that names none.
fn peer(connection: &CommonState) -> io::Result<Peer> {
    let alpn = connection.alpn_protocol().and_then(|alpn| std::str::from_utf8(alpn).ok());
    let Some(alpn) = alpn else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other end names no protocol"));
    };
    Ok(Peer { key: peer_key(connection), alpn: alpn.to_string() })
}

fn parse(der: &[u8]) -> Option<PublicKey> {
    let key = der.strip_prefix(&PUBLIC_PREFIX)?;
    key.try_into().ok().map(PublicKey)
}

/// Accepts raw Ed25519 keys, and only them.
#[derive(Debug)]
struct RawKeys {
    expect: Expect,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The other end has another key than was expected.
#[derive(Debug, thiserror::Error)]
#[error("the other end has the channel key {found}, but {expected} was expected")]
struct WrongKey {
    expected: PublicKey,
    found: PublicKey,
}

impl RawKeys {
    fn check(&self, der: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let found = parse(der).filter(|_| more.is_empty());
        let found = found.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match self.expect {
            Expect::Pinned(expected) if expected != found => {
                let wrong = OtherError(Arc::new(WrongKey { expected, found }));
                Err(Error::InvalidCertificate(CertificateError::Other(wrong)))
            }
            Expect::Pinned(_) | Expect::Any => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

impl ServerCertVerifier for RawKeys {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeys {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(key, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::SupportedVersionsExtensionRequired.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A client end that shows no key, but speaks of raw keys only: without that the server end would refuse it.
#[derive(Debug)]
struct Anonymous;

impl ResolvesClientCert for Anonymous {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// 32 bytes from the system's source of chance; none if it has none to give.
#[must_use]
pub fn system_seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    let provider: CryptoProvider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut seed).ok().map(|()| seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn key(seed: u8) -> ChannelKey {
        ChannelKey::from_seed(&[seed; 32])
    }

    /// Both ends of a handshake, and what each says of the other.
    async fn shake(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
    ) -> (io::Result<Peer>, io::Result<Peer>) {
        let (near, far) = duplex(1 << 14);
        let near_end = async {
            let (mut stream, peer) = connect(&client, near).await?;
            stream.write_all(b"x").await?;
            stream.flush().await?;
            // A refusal by the server end shows when something should come back.
            stream.read_u8().await?;
            Ok(peer)
        };
        let far_end = async {
            let (mut stream, peer) = accept(&server, far).await?;
            assert_eq!(stream.read_u8().await?, b'x');
            stream.write_all(b"y").await?;
            stream.flush().await?;
            Ok(peer)
        };
        tokio::join!(near_end, far_end)
    }

    fn server(alpns: &[&str]) -> Arc<ServerConfig> {
        server_config(&key(1), ClientAuth::Optional, alpns)
    }

    #[test]
    fn a_channel_key_is_the_ed25519_key_of_its_seed() {
        let expected = smr_crypto::IdentityKey::from_seed(&[7; 32]).public();
        assert_eq!(key(7).public(), expected);
        assert!(!format!("{:?}", key(7)).contains("0707"));
    }

    #[tokio::test]
    async fn the_pinned_key_is_accepted_and_both_ends_see_each_other() {
        let config = client_config(Some(&key(2)), Expect::Pinned(key(1).public()), ALPN_PEER);
        let (near, far) = shake(config, server(&[ALPN_CLIENT, ALPN_PEER])).await;
        assert_eq!(near.unwrap(), Peer { key: Some(key(1).public()), alpn: ALPN_PEER.into() });
        assert_eq!(far.unwrap(), Peer { key: Some(key(2).public()), alpn: ALPN_PEER.into() });
    }

    #[tokio::test]
    async fn an_anonymous_client_is_accepted_as_such() {
        let config = client_config(None, Expect::Any, ALPN_CLIENT);
        let (near, far) = shake(config, server(&[ALPN_CLIENT])).await;
        assert_eq!(near.unwrap().key, Some(key(1).public()));
        assert_eq!(far.unwrap().key, None);
    }

    #[tokio::test]
    async fn another_key_than_the_pinned_one_is_refused_with_the_reason() {
        let config = client_config(None, Expect::Pinned(key(3).public()), ALPN_CLIENT);
        let (near, far) = shake(config, server(&[ALPN_CLIENT])).await;
        let text = near.unwrap_err().to_string();
        assert!(text.contains(&key(3).public().to_string()), "{text}");
        assert!(far.is_err());
    }

    #[tokio::test]
    async fn a_key_that_the_other_end_does_not_hold_is_refused() {
        let thief = ChannelKey { public: key(1).public(), ..key(9) };
        let stolen = server_config(&thief, ClientAuth::Optional, &[ALPN_CLIENT]);
        let config = client_config(None, Expect::Pinned(key(1).public()), ALPN_CLIENT);
        assert!(shake(config, stolen).await.0.is_err());
        let config = client_config(Some(&thief), Expect::Any, ALPN_CLIENT);
        let (near, far) = shake(config, server(&[ALPN_CLIENT])).await;
        assert!(near.is_err() && far.is_err());
    }

    #[tokio::test]
    async fn ends_without_a_common_protocol_are_refused() {
        let config = client_config(None, Expect::Any, ALPN_OPERATOR);
        let (near, far) = shake(config, server(&[ALPN_CLIENT])).await;
        assert!(near.is_err() && far.is_err());
        let mut config = (*client_config(None, Expect::Any, ALPN_CLIENT)).clone();
        config.alpn_protocols.clear();
        let (near, far) = shake(Arc::new(config), server(&[ALPN_CLIENT])).await;
        assert!(near.is_err() && far.is_err(), "one that names none");
    }

    #[tokio::test]
    async fn an_end_that_knows_certificates_only_is_refused() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_CLIENT.as_bytes().to_vec()];
        let (near, far) = shake(Arc::new(config), server(&[ALPN_CLIENT])).await;
        assert!(near.is_err() && far.is_err());
    }

    #[tokio::test]
    async fn bytes_that_are_no_handshake_are_an_error_at_either_end() {
        for seed in 0..20u8 {
            let garbage: Vec<u8> = (0..200u8).map(|at| at.wrapping_mul(31).wrapping_add(seed)).collect();
            let (mut near, far) = duplex(1 << 14);
            near.write_all(&garbage).await.unwrap();
            drop(near);
            assert!(accept(&server(&[ALPN_CLIENT]), far).await.is_err());
            let (near, mut far) = duplex(1 << 14);
            far.write_all(&garbage).await.unwrap();
            drop(far);
            assert!(connect(&client_config(None, Expect::Any, ALPN_CLIENT), near).await.is_err());
        }
    }
}
