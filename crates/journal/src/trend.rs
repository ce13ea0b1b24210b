//! What more tokens would bring: a power law through a run's losses.
//!
//! `L(D) = E + B·D^−β`, D the tokens of all steps (the form of Kaplan et al., arXiv 2001.08361, with a floor E). The losses are first
//! averaged over spans of D that grow by a constant factor, so that the many late steps do not outweigh the early ones.

/// Spans that the tokens are cut into.
const SPANS: usize = 24;
/// Fewest spans with a loss that make a trend.
const SPANS_MIN: usize = 8;
/// β that are tried, in equal steps of its logarithm: the published ones lie between 0.05 and 0.5.
const POWERS: (f64, f64, usize) = (0.02, 1.5, 200);

/// `L(D) = floor + drop·D^−power`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// E, nats per token
    pub floor: f64,
    /// B
    pub drop: f64,
    /// β
    pub power: f64,
    /// root mean square distance of the averaged losses from the line, nats per token
    pub error: f64,
}

impl Trend {
    /// Through `points` of (tokens, nats per token), whose floor is `least` or more (the loss of the untouched model, or 0). `None`
    /// where there are too few points, or where the losses do not fall.
    pub fn of(points: &[(u64, f64)], least: f64) -> Option<Self> {
        let spans = averages(points);
        if spans.len() < SPANS_MIN {
            return None;
        }
        let (low, high, count) = POWERS;
        (0..count)
            .map(|index| low * (high / low).powf(index as f64 / (count - 1) as f64))
            .filter_map(|power| through(&spans, power, least))
            .min_by(|a, b| a.error.total_cmp(&b.error))
    }

    /// The loss after so many tokens, nats per token.
    pub fn at(&self, tokens: f64) -> f64 {
        self.floor + self.drop * tokens.powf(-self.power)
    }
}

/// Mean tokens and losses of the spans that hold any.
fn averages(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let points: Vec<(f64, f64)> =
        points.iter().filter(|(d, l)| *d > 0 && l.is_finite()).map(|&(d, l)| (d as f64, l)).collect();
    let ends = points.iter().map(|point| point.0).fold((f64::MAX, 0.0f64), |(a, b), d| (a.min(d), b.max(d)));
    let width = (ends.1 / ends.0).ln() / SPANS as f64;
    if points.is_empty() || width <= 0.0 {
        return Vec::new();
    }
    let mut sums = [(0.0, 0.0, 0.0); SPANS];
    for (d, l) in points {
        let span = (((d / ends.0).ln() / width) as usize).min(SPANS - 1);
        let (tokens, losses, count) = &mut sums[span];
        (*tokens, *losses, *count) = (*tokens + d, *losses + l, *count + 1.0);
    }
    sums.iter().filter(|sum| sum.2 > 0.0).map(|(d, l, count)| (d / count, l / count)).collect()
}

/// The least-squares floor and drop for one power; a floor below `least` is set to it. `None` where the losses rise.
fn through(spans: &[(f64, f64)], power: f64, least: f64) -> Option<Trend> {
    let count = spans.len() as f64;
    let mean = |value: &dyn Fn(&(f64, f64)) -> f64| spans.iter().map(value).sum::<f64>() / count;
    let x = |span: &(f64, f64)| span.0.powf(-power);
    let (mean_x, mean_l) = (mean(&x), mean(&|span| span.1));
    let spread = mean(&|span| (x(span) - mean_x).powi(2));
    let mut drop = mean(&|span| (x(span) - mean_x) * (span.1 - mean_l)) / spread;
    let mut floor = mean_l - drop * mean_x;
    if floor < least {
        floor = least;
        drop = mean(&|span| x(span) * (span.1 - least)) / mean(&|span| x(span).powi(2));
    }
    let line = Trend { floor, drop, power, error: 0.0 };
    let error = mean(&|span| (line.at(span.0) - span.1).powi(2)).sqrt();
    (drop > 0.0).then_some(Trend { error, ..line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(tokens: u64) -> f64 {
        2.5 + 40.0 * (tokens as f64).powf(-0.25)
    }

    #[test]
    fn a_power_law_is_found_again() {
        let points: Vec<_> = (100..3000u64).map(|step| (step * 1024, law(step * 1024))).collect();
        let trend = Trend::of(&points, 0.0).unwrap();
        for tokens in [3_000_000, 30_000_000] {
            assert!((trend.at(tokens as f64) - law(tokens)).abs() < 0.02, "{trend:?}");
        }
        assert!(trend.error < 1e-3, "{trend:?}");
    }

    #[test]
    fn noise_does_not_move_it_far() {
        let noise =
            |step: u64| (step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / f64::from(1 << 24) - 0.5;
        let points: Vec<_> =
            (100..3000u64).map(|step| (step * 1024, law(step * 1024) + 0.4 * noise(step))).collect();
        let trend = Trend::of(&points, 0.0).unwrap();
        assert!((trend.at(6e6) - law(6_000_000)).abs() < 0.05, "{trend:?}");
    }

    #[test]
    fn the_floor_is_not_below_the_least() {
        let points: Vec<_> = (100..3000u64).map(|step| (step * 1024, law(step * 1024))).collect();
        let trend = Trend::of(&points, 3.0).unwrap();
        assert!(trend.floor >= 3.0 && trend.at(1e12) >= 3.0, "{trend:?}");
    }

    #[test]
    fn there_is_none_through_few_points_or_losses_that_rise() {
        let few: Vec<_> = (1..5u64).map(|step| (step, 5.0 - step as f64)).collect();
        let rising: Vec<_> = (1..900u64).map(|step| (step, step as f64)).collect();
        let broken: Vec<_> = (1..900u64).map(|step| (step, f64::NAN)).collect();
        for points in [&[][..], &few, &rising, &broken, &[(7, 1.0); 30]] {
            assert_eq!(Trend::of(points, 0.0), None, "{points:?}");
        }
    }
}
