//! Adam with coupled L2 instead of AdamW.
//!
//! `torch.optim.Adam(weight_decay=…)` adds the decay to the gradient. Where the gradient is small, Adam's
//! normalisation turns that term into a step of the full learning rate towards 0, whatever the decay's size: latent
//! weights lose their margin to the rounding threshold and the model can fall to a uniform output. AdamW decays the
//! weights themselves.
//!
//! DeepSpeed's `"type": "Adam"` is AdamW unless `adam_w_mode` is false, Megatron's `adam` unless `decoupled_weight_decay`
//! is, and both are read so. Other optimisers that have Adam in their name (`adam_mini`) are none.
//!
//! Remedy: use AdamW (`train.optimizer = "adamw"`, `torch.optim.AdamW`), or set the weight decay to 0.
//!
//! Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization"; the code of the collapse study.

use crate::finding::number;
use crate::recipe::Optimizer;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct CoupledL2;

impl Rule for CoupledL2 {
    fn code(&self) -> &'static str {
        "T105"
    }

    fn name(&self) -> &'static str {
        "coupled-l2"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let recipe = &subject.recipe;
        let decay = recipe.weight_decay?;
        if !subject.is_ternary() || recipe.optimizer != Some(Optimizer::AdamL2) || decay == 0.0 {
            return None;
        }
        let text =
            format!("the optimiser is Adam with weight decay {}: it is added to the gradient", number(decay));
        Some(Sign::error(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&CoupledL2, |s| s.recipe.optimizer = Some(Optimizer::AdamL2));
        assert!(found.evidence.contains("0.1"), "{}", found.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&CoupledL2, |s| {
            s.recipe.optimizer = Some(Optimizer::AdamL2);
            s.recipe.weight_decay = Some(0.0);
        });
        silent(&CoupledL2, |s| s.recipe.optimizer = Some(Optimizer::Other("muon".into())));
    }
}
