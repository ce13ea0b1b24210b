//! The `[lora]` table: a run that learns an adapter beside the weights of the model that it begins with.

use model::Projection;
use model::adapter::Rank;
use serde::{Deserialize, Serialize};

/// A projection, by the name that PEFT knows it under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Target {
    QProj,
    KProj,
    VProj,
    OProj,
    GateProj,
    UpProj,
    DownProj,
}

impl Target {
    /// All seven, in the order of `Projection::ALL`.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// The projection.
    pub fn projection(self) -> Projection {
        Projection::ALL[self as usize]
    }
}

/// The `[lora]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// r
    pub rank: usize,
    /// α; the term beside a projection is multiplied by α/r
    pub alpha: f64,
    /// the projections that get one
    pub targets: Vec<Target>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, targets: Target::ALL.to_vec() }
    }
}

/// Largest r: beyond it an adapter is no smaller than the matrices.
const RANK_MAX: usize = 1024;

/// What a run sets that learns an adapter, where nothing else does.
pub(super) const VALUES: &str = "[lora]\n[schedule]\npeak = 3e-4\n";

impl LoraConfig {
    /// r and α.
    pub fn rank(&self) -> Rank {
        Rank { rank: self.rank, alpha: self.alpha as f32, stabilised: false }
    }

    /// The projections that get matrices.
    pub fn projections(&self) -> Vec<Projection> {
        self.targets.iter().map(|target| target.projection()).collect()
    }

    /// The key and the reason of what contradicts itself.
    pub(super) fn contradiction(&self) -> Option<(&'static str, String)> {
        if !(1..=RANK_MAX).contains(&self.rank) {
            return Some(("lora.rank", format!("{} is outside 1..={RANK_MAX}", self.rank)));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0 && self.alpha <= 1e6) {
            return Some(("lora.alpha", format!("{} is not above 0 and at most 1000000", self.alpha)));
        }
        if self.targets.is_empty() {
            return Some(("lora.targets", "names no projection; leave it out for all seven".into()));
        }
        let twice = (1..self.targets.len()).find(|at| self.targets[..*at].contains(&self.targets[*at]));
        twice.map(|at| ("lora.targets", format!("names {:?} twice", self.targets[at])))
    }

    /// Why a run of `config` cannot learn an adapter.
    pub(super) fn unfit(config: &super::RunConfig) -> Option<(&'static str, String)> {
        let lora = config.lora.as_ref()?;
        if config.start.is_none() {
            let reason = "an adapter is learned beside a model's weights; name the model with --from";
            return Some(("lora", reason.into()));
        }
        if config.lambda.blends() {
            let reason = "an adapter reads what a finished network reads; leave [lambda] out";
            return Some(("lambda.kind", reason.into()));
        }
        if config.train.optimizer == super::Optimizer::Muon {
            let reason = "\"muon\" is made for whole matrices; learn an adapter with \"adamw\"";
            return Some(("train.optimizer", reason.into()));
        }
        lora.contradiction()
    }
}
