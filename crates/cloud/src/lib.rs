//! Deploys a blueprint and keeps reality equal to it.
