//! Where in a run a line stands: at 0, 25, 50, 75 and 100 per cent of its steps.

use journal::metrics::Step;

/// The moments at which a run is judged, per cent of all steps.
pub const JUDGED: [u64; 5] = [0, 25, 50, 75, 100];

/// Index of the last line up to `percent` of `total` steps whose record satisfies `has`; `None` where the run has not come so
/// far, or has no such record within a tenth of the run before.
pub fn line_at(steps: &[Step], total: u64, percent: f64, has: impl Fn(&Step) -> bool) -> Option<usize> {
    let target = (total as f64 * percent / 100.0).max(1.0).ceil();
    let done = |step: &Step| step.step as f64 + 1.0;
    if done(steps.last()?) < target {
        return None;
    }
    let index = steps.iter().rposition(|step| done(step) <= target && has(step))?;
    (target - done(&steps[index]) <= total as f64 / 10.0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_found_where_they_are_recorded() {
        let mut steps: Vec<Step> = (0..60).map(|step| Step { step, ..Step::default() }).collect();
        for index in [0, 24, 49] {
            steps[index].record.unique_tokens = Some(1);
        }
        let at = |percent| line_at(&steps, 100, percent, |step| step.record.unique_tokens.is_some());
        assert_eq!([0.0, 25.0, 50.0].map(at), [Some(0), Some(24), Some(49)]);
        assert_eq!(at(40.0), None, "the nearest record is too old");
        assert_eq!(at(100.0), None, "the run has not come so far");
        assert_eq!(line_at(&[], 100, 50.0, |_| true), None);
        assert_eq!(line_at(&steps, 0, 50.0, |_| true), Some(0));
    }
}
