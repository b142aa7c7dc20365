//! What the parts of one replica's edge share.

use std::sync::Arc;

use smr_consensus::Group;
use smr_consensus::verified::Rules;
use smr_crypto::threshold::ServiceKey;
use smr_crypto::{IdentityKey, Verifier};
use smr_replica::Genesis;
use smr_wire::{EndpointCertificate, Epoch, ReplicaId, ServiceId};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::gateway::Clients;
use crate::handshakes::Handshakes;
use crate::inbox::{Inbox, Sources};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::node::Control;
use crate::trusted::CoreStatus;

/// Good signatures that are remembered, so that what came before and comes again costs nothing; about 8 MB.
const SIGNATURES_REMEMBERED: usize = 1 << 16;

/// Shared by the tasks of one replica.
pub(crate) struct Edge {
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) service: ServiceId,
    pub(crate) group: Arc<Group>,
    pub(crate) me: ReplicaId,
    pub(crate) identity: Arc<IdentityKey>,
    /// None if the protocol asks no core for anything.
    pub(crate) core: Option<CoreStatus>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) verifier: Arc<Verifier>,
    /// Where checked messages of peers, checked requests of clients and results of the replica's own work wait.
    pub(crate) sources: Sources,
    /// Questions and orders of the administrator.
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) clients: Clients,
    pub(crate) published: watch::Sender<Published>,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) operators: Arc<Semaphore>,
    pub(crate) started: tokio::time::Instant,
}

/// What the core last said to everyone who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// The contacts under the service's signature.
    pub(crate) certificate: Option<EndpointCertificate>,
    /// The service's key and the epoch of its shares.
    pub(crate) key: Option<(Epoch, ServiceKey)>,
}

/// The core's ends of the queues of an [`Edge`].
pub(crate) struct Queues {
    pub(crate) inbox: Inbox,
    pub(crate) control: mpsc::Receiver<Control>,
}

/// Orders that wait for the core at most.
const CONTROL_MAX: usize = 16;

impl Edge {
    pub(crate) fn new(
        genesis: Arc<Genesis>,
        me: ReplicaId,
        identity: Arc<IdentityKey>,
        core: Option<CoreStatus>,
        limits: Limits,
    ) -> (Arc<Edge>, Queues) {
        let group = Arc::new(genesis.group());
        let (inbox, sources) = Inbox::new(group.size(), &limits);
        let (control, control_end) = mpsc::channel(CONTROL_MAX);
        let edge = Edge {
            service: group.service,
            metrics: Metrics::new(me, group.size()),
            verifier: Arc::new(Verifier::new(SIGNATURES_REMEMBERED)),
            clients: Clients::default(),
            published: watch::Sender::new(Published::default()),
            handshakes: Handshakes::new(
                limits.handshakes,
                genesis.members.iter().map(|member| member.address.as_str()),
            ),
            operators: Arc::new(Semaphore::new(limits.operators_max)),
            started: tokio::time::Instant::now(),
            genesis,
            group,
            me,
            identity,
            core,
            limits,
            sources,
            control,
        };
        let queues = Queues { inbox, control: control_end };
        (Arc::new(edge), queues)
    }

    /// What messages of peers are checked against.
    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules { group: &self.group, config: &self.genesis.config.consensus, verifier: &self.verifier }
    }
}
