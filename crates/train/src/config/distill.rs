//! The `[distill]` table: a teacher, and how much each of its lessons weighs (SPEC §6).

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::path::{Path, PathBuf};

/// A number, or its values at the beginning and at the end of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "it is neither a number nor two of them, [first, last]")]
pub enum Ramp {
    /// the same for the whole run
    Constant(f64),
    /// from the first to the second, along `distill.curve`
    FromTo([f64; 2]),
}

impl Ramp {
    const OFF: Self = Self::Constant(0.0);
    const ON: Self = Self::Constant(1.0);

    fn at(self, way: f64) -> f64 {
        match self {
            Self::Constant(value) => value,
            Self::FromTo([from, to]) => from + (to - from) * way,
        }
    }

    /// Both ends.
    pub(super) fn ends(self) -> [f64; 2] {
        [self.at(0.0), self.at(1.0)]
    }

    /// Whether it is ever above 0.
    pub fn is_on(self) -> bool {
        self.ends() != [0.0, 0.0]
    }
}

/// How weights go from their first to their last value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// x
    #[default]
    Linear,
    /// at once, half-way
    Step,
    /// (1 − cos πx) / 2
    Cosine,
}

/// What a sum over heads and positions is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// heads × positions, for each of queries, keys and values: the weight means the same at every size
    #[default]
    Mean,
    /// nothing but the scored positions, as every loss is: the published weights of 10³ to 10⁵ go with the mean
    Sum,
}

/// What two hidden states are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenKind {
    /// mean square of the difference
    #[default]
    Mse,
    /// the same of the states divided by their root mean squares
    NormalisedMse,
    /// 1 − cosine
    Cosine,
}

/// How much each layer's hidden state weighs; the weights of all layers add up to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerWeights {
    /// all alike
    #[default]
    Uniform,
    /// layer l of L in proportion to l
    Progressive,
    /// each layer twice the one before
    Exponential,
}

impl LayerWeights {
    /// (L)
    pub fn of(self, layers: usize) -> Vec<f32> {
        let raw: Vec<f64> = (0..layers)
            .map(|layer| match self {
                Self::Uniform => 1.0,
                Self::Progressive => (layer + 1) as f64,
                // the last layer is 1, so that nothing overflows
                Self::Exponential => 0.5f64.powi((layers - 1 - layer) as i32),
            })
            .collect();
        let sum: f64 = raw.iter().sum();
        raw.into_iter().map(|weight| (weight / sum) as f32).collect()
    }
}

/// The `[distill]` table. A weight of 0 leaves a loss out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// the model that is learned from: any MODEL with the student's tokenizer
    pub teacher: PathBuf,
    /// weight of the cross-entropy with the text
    #[serde(default = "on")]
    pub cross_entropy: Ramp,
    /// weight of τ²·KL(teacher ‖ student) of the next-token distributions
    #[serde(default = "on")]
    pub logits: Ramp,
    /// τ of those distributions
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// only the teacher's likeliest tokens, renormalised; 0 for all
    #[serde(default)]
    pub top_k: usize,
    /// folder that keeps the teacher's likeliest tokens for other runs on the same windows; needs top_k
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// weight of the relations between queries, keys and values of one layer
    #[serde(default = "off")]
    pub relation: Ramp,
    /// the student's layer, from 0; three quarters up where left out
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation_layer: Option<usize>,
    /// heads that queries, keys and values are cut into; the student's key-value heads where left out
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation_heads: Option<usize>,
    /// mean or sum over heads
    #[serde(default)]
    pub relation_reduction: Reduction,
    /// weight of the difference of hidden states after every layer
    #[serde(default = "off")]
    pub hidden: Ramp,
    /// mse, normalised-mse or cosine
    #[serde(default)]
    pub hidden_kind: HiddenKind,
    /// uniform, progressive or exponential
    #[serde(default)]
    pub hidden_layers: LayerWeights,
    /// linear, step or cosine: how weights given as [first, last] go from one to the other
    #[serde(default)]
    pub curve: Curve,
}

fn on() -> Ramp {
    Ramp::ON
}

fn off() -> Ramp {
    Ramp::OFF
}

fn temperature() -> f64 {
    2.0
}

/// The weights of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossWeights {
    /// of the text
    pub cross_entropy: f32,
    /// of the teacher's distribution
    pub logits: f32,
    /// of relations
    pub relation: f32,
    /// of hidden states
    pub hidden: f32,
}

impl DistillConfig {
    /// The weights of step `step` of `total`.
    pub fn weights(&self, step: u64, total: u64) -> LossWeights {
        let x = (step as f64 / total as f64).min(1.0);
        let way = match self.curve {
            Curve::Linear => x,
            Curve::Step => f64::from(u8::from(x >= 0.5)),
            Curve::Cosine => (1.0 - (PI * x).cos()) / 2.0,
        };
        let at = |ramp: Ramp| ramp.at(way) as f32;
        LossWeights {
            cross_entropy: at(self.cross_entropy),
            logits: at(self.logits),
            relation: at(self.relation),
            hidden: at(self.hidden),
        }
    }

    /// TOML of a `[distill]` table with this teacher.
    pub(super) fn layer(teacher: &Path) -> Result<String, ConfigError> {
        let table = toml::Table::from_iter([("teacher".to_owned(), toml::Value::try_from(teacher)?)]);
        Ok(toml::to_string(&toml::Table::from_iter([("distill".to_owned(), toml::Value::Table(table))]))?)
    }

    /// The key and the reason of the first contradiction.
    pub(super) fn contradiction(&self, model: &model::Config) -> Option<(&'static str, String)> {
        let ramps = [
            ("distill.cross_entropy", self.cross_entropy),
            ("distill.logits", self.logits),
            ("distill.relation", self.relation),
            ("distill.hidden", self.hidden),
        ];
        for (key, ramp) in ramps {
            if !ramp.ends().iter().all(|value| value.is_finite() && *value >= 0.0) {
                return Some((key, "a weight is a number ≥ 0, or two of them".into()));
            }
        }
        if !ramps[1..].iter().any(|(_, ramp)| ramp.is_on()) {
            let reason = "nothing is learned from the teacher: give logits, relation or hidden a weight";
            return Some(("distill.logits", reason.into()));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Some(("distill.temperature", format!("{} is not above 0", self.temperature)));
        }
        if self.top_k > model.vocabulary || self.top_k == 1 {
            let reason = format!("{} is not 0 (all tokens) or 2..={}", self.top_k, model.vocabulary);
            return Some(("distill.top_k", reason));
        }
        if self.cache.is_some() && (self.top_k == 0 || self.relation.is_on() || self.hidden.is_on()) {
            let reason = "it keeps the likeliest tokens only: set distill.top_k, and no relation or hidden";
            return Some(("distill.cache", reason.into()));
        }
        self.relation_contradiction(model)
    }

    fn relation_contradiction(&self, model: &model::Config) -> Option<(&'static str, String)> {
        if self.relation_layer(model) >= model.layers {
            let reason = format!("the student has layers 0 to {}", model.layers - 1);
            return Some(("distill.relation_layer", reason));
        }
        let heads = self.relation_heads(model);
        if heads == 0 || !model.query_width().is_multiple_of(heads) || !model.kv_width().is_multiple_of(heads)
        {
            let (query, kv) = (model.query_width(), model.kv_width());
            let reason = format!("{heads} does not divide the student's {query} query and {kv} key elements");
            return Some(("distill.relation_heads", reason));
        }
        None
    }

    /// The student's layer whose relations are compared.
    pub fn relation_layer(&self, model: &model::Config) -> usize {
        self.relation_layer.unwrap_or(model.layers * 3 / 4)
    }

    /// Heads that its queries, keys and values are cut into.
    pub fn relation_heads(&self, model: &model::Config) -> usize {
        self.relation_heads.unwrap_or(model.kv_heads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_weights_add_up_to_one() {
        for weights in [LayerWeights::Uniform, LayerWeights::Progressive, LayerWeights::Exponential] {
            for layers in [1, 2, 30, 1024] {
                let weights = weights.of(layers);
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                assert!(weights.is_sorted());
            }
        }
    }

    #[test]
    fn weights_follow_their_curve() {
        let mut config: DistillConfig =
            toml::from_str("teacher = 'T'\nlogits = [1.0, 0.0]\ncurve = 'step'").unwrap();
        assert_eq!([0, 49, 50, 100].map(|step| config.weights(step, 100).logits), [1.0, 1.0, 0.0, 0.0]);
        config.curve = Curve::Linear;
        assert_eq!(config.weights(25, 100).logits, 0.75);
        config.curve = Curve::Cosine;
        assert!((config.weights(50, 100).logits - 0.5).abs() < 1e-6);
        assert_eq!(config.weights(50, 100).cross_entropy, 1.0);
    }
}
