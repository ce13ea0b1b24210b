//! What rank 0 tells the others before anything else.

use crate::TrainError;
use crate::config::RunConfig;
use cluster::Group;
use serde::{Deserialize, Serialize};

/// How the run begins.
#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    /// TOML of the resolved configuration
    pub(crate) config: String,
    /// whether weights and optimiser state follow
    pub(crate) resumed: bool,
}

impl Start {
    pub(crate) fn of(config: &RunConfig, resumed: bool) -> Result<Self, TrainError> {
        Ok(Self { config: config.to_toml()?, resumed })
    }

    pub(crate) fn tell(&self, group: &mut Option<Group>) {
        if let Some(group) = group {
            group.broadcast(serde_json::to_vec(self).expect("plain data becomes JSON"));
        }
    }

    pub(crate) fn hear(group: &mut Group) -> Result<Self, TrainError> {
        serde_json::from_slice(&group.broadcast(Vec::new())).map_err(|_| TrainError::OtherVersion)
    }
}
