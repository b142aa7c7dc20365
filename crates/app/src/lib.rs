//! What an application author implements, and the host that runs it in the agreed order.
