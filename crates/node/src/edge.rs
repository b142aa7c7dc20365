//! What the parts of one replica's edge share.

use std::sync::{Arc, PoisonError, RwLock};

use smr_consensus::Group;
use smr_consensus::verified::Rules;
use smr_crypto::threshold::ServiceKey;
use smr_crypto::{IdentityKey, PublicKey, Verifier};
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
    /// The first voters: members keep their places and identities.
    pub(crate) group: Arc<Group>,
    /// Those of the generation that the replica is in.
    voters: RwLock<Arc<Group>>,
    pub(crate) me: ReplicaId,
    pub(crate) identity: Arc<IdentityKey>,
    /// None if the protocol asks no core for anything.
    pub(crate) core: Option<CoreStatus>,
    /// With which key its core signs.
    pub(crate) core_key: Option<PublicKey>,
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
        core: Option<(PublicKey, CoreStatus)>,
        limits: Limits,
    ) -> (Arc<Edge>, Queues) {
        let group = Arc::new(genesis.group());
        let (inbox, sources) = Inbox::new(group.size(), &limits);
        let (core_key, core) = core.unzip();
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
            voters: RwLock::new(group.clone()),
            group,
            me,
            identity,
            core,
            core_key,
            limits,
            sources,
            control,
        };
        let queues = Queues { inbox, control: control_end };
        (Arc::new(edge), queues)
    }

    /// The voters of the generation that the replica is in.
    pub(crate) fn voters(&self) -> Arc<Group> {
        self.voters.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The replica is in the generation of these from now on.
    pub(crate) fn regroup(&self, voters: Arc<Group>) {
        *self.voters.write().unwrap_or_else(PoisonError::into_inner) = voters;
    }

    /// What messages of peers are checked against, in the generation of `voters`.
    pub(crate) fn rules<'a>(&'a self, voters: &'a Group) -> Rules<'a> {
        Rules { group: voters, config: &self.genesis.config.consensus, verifier: &self.verifier }
    }
}
