//! The `[heal]` table: a run that begins with a pretrained model.

use super::ConfigError;
use crate::schedule::LambdaKind;
use model::{LinearKind, NormPlacement};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Whether a network without sub-norms gets them (SubLN: RMSNorm before the output and the down projection).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubNorm {
    /// the network keeps its function, and its shape in other programs
    #[default]
    None,
    /// new norms, whose gains change the function least on the first batch
    Insert,
}

/// The `[heal]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealConfig {
    /// the pretrained model: any MODEL
    pub from: PathBuf,
    /// insert or none
    #[serde(default)]
    pub sub_norm: SubNorm,
    /// whether the pretrained weights are brought into a basis without outliers; the head is then a matrix of its own
    #[serde(default)]
    pub rotate: bool,
}

/// What a healing sets where nothing else does.
pub(super) const VALUES: &str = r#"
[train]
steps = 2000
batch = 8
sequence = 256
weight_decay = 0.1
record_every = 50
[schedule]
kind = "cosine"
peak = 1e-3
warmup = 20
[lambda]
kind = "fixed-n"
"#;

impl HealConfig {
    /// The network that `source` becomes: its projections are ternary.
    pub fn target(&self, source: &model::Config) -> model::Config {
        let inserts = self.sub_norm == SubNorm::Insert && source.norm_placement == NormPlacement::Outside;
        model::Config {
            linear: LinearKind::Ternary,
            sub_norms: source.sub_norms || inserts,
            tied: source.tied && !self.rotate,
            ..source.clone()
        }
    }

    /// TOML of `[model]` and `[heal]`.
    pub(super) fn layer(&self, source: &model::Config) -> Result<String, ConfigError> {
        if self.rotate && source.linear == LinearKind::Ternary {
            return Err(ConfigError::Key {
                key: "heal.rotate".into(),
                place: format!(" (the model {})", self.from.display()),
                reason: "its weights are ternary, and would not be in another basis; heal it without".into(),
            });
        }
        let model = toml::Value::try_from(self.target(source))?;
        let heal = toml::Value::try_from(self)?;
        let mut tables = vec![("model".to_owned(), model), ("heal".to_owned(), heal)];
        if source.linear == LinearKind::Ternary {
            // What is ternary already has nowhere to grow to.
            let one = toml::Table::from_iter([("kind".to_owned(), LambdaKind::One.name().into())]);
            tables.push(("lambda".to_owned(), one.into()));
        }
        Ok(toml::to_string(&toml::Table::from_iter(tables))?)
    }
}
