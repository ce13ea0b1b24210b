//! From values to places: domains, logarithms, and round numbers for the ticks.

/// Values beyond this are drawn at it, so that no difference overflows.
const HUGE: f64 = 1e100;
/// Smallest value that a logarithmic axis shows.
const TINY: f64 = 1e-30;

/// A range of values, and whether it is laid out by logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// the value at 0
    pub low: f64,
    /// the value at 1
    pub high: f64,
    /// equal factors take equal room
    pub log: bool,
}

impl Scale {
    /// The range of `values`, with a little room at both ends. Where they are all the same, it lies around them.
    pub fn around(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let usable = values.filter(|value| value.is_finite() && (!log || *value > 0.0));
        let usable = usable.map(|value| value.clamp(-HUGE, HUGE).max(if log { TINY } else { -HUGE }));
        let (low, high) = usable
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { low: if log { 0.1 } else { 0.0 }, high: 1.0, log };
        }
        if log {
            return Self { low: low / 1.2, high: high * 1.2, log };
        }
        let room = match high - low {
            0.0 if low == 0.0 => 1.0,
            0.0 => low.abs() * 0.1,
            way => way * 0.05,
        };
        // Quantities that cannot be negative begin at 0 rather than below it.
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Self { low: (low - room).max(floor), high: high + room, log }
    }

    /// Exactly this range.
    pub fn exact(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, log: false }
    }

    /// The place of a value: 0 at `low`, 1 at `high`, never beyond.
    pub fn place(&self, value: f64) -> f64 {
        let line = |value: f64| if self.log { value.max(TINY).ln() } else { value };
        let (low, high) = (line(self.low), line(self.high));
        ((line(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// About `count` round numbers in the range.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log {
            return self.log_ticks();
        }
        let step = round_step((self.high - self.low) / count.max(1) as f64);
        let first = (self.low / step).ceil();
        let ticks = (0..=2 * count).map(|index| (first + index as f64) * step);
        ticks.filter(|tick| *tick <= self.high + step * 1e-9).collect()
    }

    /// Powers of ten; where they are few, also 2 and 5 times them.
    fn log_ticks(&self) -> Vec<f64> {
        let (from, to) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let every = ((to - from) / 8 + 1) as usize;
        let factors: &[f64] = if to - from <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks =
            (from..=to).step_by(every).flat_map(|power| factors.iter().map(move |f| f * 10f64.powi(power)));
        ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::exact(0.0, 100.0).ticks(5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale { low: 0.8, high: 12.0, log: true }.ticks(5), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(Scale::around([f64::NAN].into_iter(), false), Scale { low: 0.0, high: 1.0, log: false });
    }

    proptest! {
        #[test]
        fn every_value_has_a_place(values in prop::collection::vec(any::<f64>(), 0..8), log: bool) {
            let scale = Scale::around(values.iter().copied(), log);
            prop_assert!(scale.low < scale.high && scale.low.is_finite() && scale.high.is_finite());
            for value in values.into_iter().filter(|value| value.is_finite()) {
                prop_assert!((0.0..=1.0).contains(&scale.place(value)), "{value} {scale:?}");
            }
            let ticks = scale.ticks(5);
            prop_assert!(ticks.len() <= 40 && ticks.iter().all(|tick| tick.is_finite()));
        }
    }
}
