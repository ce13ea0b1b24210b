//! The rules, one file each. A rule sees a [`Subject`], plain data, and says what it saw, with numbers.
//!
//! The comment at the head of a rule's file is its page in docs/rules.md: a headline, what it means, `Remedy:` and `Source:`.

mod activation_doubtful;
mod best_loss_infinite;
mod beta2;
mod collapse;
mod coupled_l2;
mod dead_rows;
mod duplicate_layers;
mod empty_gain;
mod end_ids;
mod evaluation_cadence;
#[cfg(test)]
mod fixture;
mod flip_rate;
mod fused_scale;
mod gradient_explosion;
mod guarded_steps;
mod half_precision;
mod initial_loss;
mod instant_quantisation;
mod lambda_below_one;
mod late_quantisation;
mod log_goes_back;
mod loss_not_finite;
mod loss_spike;
mod loss_too_low;
mod loss_uniform;
mod loss_unigram;
mod mostly_zeros;
mod narrow_data;
mod never_saw_bitlinear;
mod never_trained;
mod no_clipping;
mod no_language_loss;
mod no_warmup;
mod no_zeros;
mod non_finite;
mod outside_one;
mod overfitting;
mod packing_suspicious;
mod pre_tokenizer;
mod quantisation_unsaid;
mod rate_for_size;
mod repetition;
mod requantised;
mod rope_base;
mod scale_implausible;
mod scale_invalid;
mod scale_missing;
mod schedule_differs;
mod schedule_not_followed;
mod sign_imbalance;
mod stage2_weight_decay;
mod stage2_worse;
mod storage_contradiction;
mod sub_norms;
#[cfg(test)]
mod tests;
mod under_trained;
mod unreadable;
mod verdict_withheld;
mod vocabulary_plus_one;
mod vocabulary_too_small;
mod weight_average;
mod weights_only;

use crate::pages;
use crate::{Finding, Sign, Subject};

/// One rule.
pub trait Rule: Sync {
    /// Its code, which never changes.
    fn code(&self) -> &'static str;

    /// The name of its file in `rules/`, with dashes.
    fn name(&self) -> &'static str;

    /// What it sees; nothing in a healthy subject, and nothing where facts are missing.
    fn check(&self, subject: &Subject) -> Option<Sign>;
}

/// All rules, by code: T1 recipe, T2 progress, T3 log, T4 tensors, T5 what files say.
pub static RULES: &[&dyn Rule] = &[
    &stage2_weight_decay::Stage2WeightDecay,
    &schedule_differs::ScheduleDiffers,
    &schedule_not_followed::ScheduleNotFollowed,
    &rate_for_size::RateForSize,
    &coupled_l2::CoupledL2,
    &beta2::Beta2,
    &no_warmup::NoWarmup,
    &no_clipping::NoClipping,
    &evaluation_cadence::EvaluationCadence,
    &weight_average::WeightAverage,
    &half_precision::HalfPrecision,
    &narrow_data::NarrowData,
    &no_language_loss::NoLanguageLoss,
    &instant_quantisation::InstantQuantisation,
    &late_quantisation::LateQuantisation,
    &never_trained::NeverTrained,
    &under_trained::UnderTrained,
    &best_loss_infinite::BestLossInfinite,
    &lambda_below_one::LambdaBelowOne,
    &log_goes_back::LogGoesBack,
    &guarded_steps::GuardedSteps,
    &verdict_withheld::VerdictWithheld,
    &loss_not_finite::LossNotFinite,
    &loss_spike::LossSpike,
    &loss_uniform::LossUniform,
    &loss_unigram::LossUnigram,
    &collapse::Collapse,
    &repetition::Repetition,
    &stage2_worse::Stage2Worse,
    &flip_rate::FlipRate,
    &gradient_explosion::GradientExplosion,
    &overfitting::Overfitting,
    &loss_too_low::LossTooLow,
    &initial_loss::InitialLoss,
    &non_finite::NonFinite,
    &never_saw_bitlinear::NeverSawBitlinear,
    &no_zeros::NoZeros,
    &mostly_zeros::MostlyZeros,
    &sign_imbalance::SignImbalance,
    &dead_rows::DeadRows,
    &scale_missing::ScaleMissing,
    &scale_invalid::ScaleInvalid,
    &scale_implausible::ScaleImplausible,
    &sub_norms::SubNorms,
    &requantised::Requantised,
    &fused_scale::FusedScale,
    &outside_one::OutsideOne,
    &duplicate_layers::DuplicateLayers,
    &empty_gain::EmptyGain,
    &weights_only::WeightsOnly,
    &unreadable::Unreadable,
    &vocabulary_plus_one::VocabularyPlusOne,
    &vocabulary_too_small::VocabularyTooSmall,
    &activation_doubtful::ActivationDoubtful,
    &packing_suspicious::PackingSuspicious,
    &pre_tokenizer::PreTokenizer,
    &end_ids::EndIds,
    &quantisation_unsaid::QuantisationUnsaid,
    &storage_contradiction::StorageContradiction,
    &rope_base::RopeBase,
];

/// What all rules say about a subject, the worst first.
pub fn judge(subject: &Subject) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES
        .iter()
        .filter_map(|rule| Some(pages::finding(rule.code(), rule.name(), rule.check(subject)?)))
        .collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}
