//! Every figure of the recipes, and what any schedule must keep to.

use super::*;
use proptest::prelude::*;

fn config(kind: Kind, peak: f64) -> ScheduleConfig {
    ScheduleConfig { kind, peak: Some(peak), ..Default::default() }
}

fn schedule(config: &ScheduleConfig, steps: u64) -> Schedule {
    Schedule::new(config, &LambdaConfig::default(), 0.1, steps).unwrap()
}

fn lambda(kind: LambdaKind, k: Option<f64>, n: Option<u64>, steps: u64) -> Schedule {
    let lambda = LambdaConfig { kind, k, n, ..LambdaConfig::default() };
    Schedule::new(&ScheduleConfig::default(), &lambda, 0.1, steps).unwrap()
}

/// Half a unit in the last of the digits that the figure is printed with.
#[track_caller]
fn close(value: f64, figure: f64, half_unit: f64) {
    assert!((value - figure).abs() <= half_unit, "{value:e}, not {figure:e}");
}

#[test]
fn microsoft_gives_the_published_figures() {
    let s = schedule(&config(Kind::Microsoft, 1.5e-3), 100_000);
    close(s.at(49_999).lr, 7.6778e-4, 0.5e-8);
    close(s.at(50_000).lr, 5.1683e-4, 0.5e-8);
    assert_eq!(s.at(0).lr, 0.0);
    close(s.at(1).lr, 1.5e-3 / 375.0, 1e-15);
    close(s.at(374).lr, 1.5e-3 * 374.0 / 375.0, 1e-15);
    close(s.at(375).lr, 1.5e-3, 1e-15);
    close(s.at(100_000).lr, 3e-5, 1e-15);
    let given = ScheduleConfig { peak2: Some(1e-3), warmup: Some(375), ..config(Kind::Microsoft, 1.5e-3) };
    let explicit = schedule(&given, 100_000);
    for step in [0, 1, 375, 49_999, 50_000, 99_999, 100_000] {
        close(explicit.at(step).lr, s.at(step).lr, 1e-15);
    }
}

#[test]
fn microsofts_second_peak_is_the_tables_for_every_size() {
    for (peak, peak2) in [(1.5e-3, 1.0e-3), (1.2e-3, 8e-4)] {
        close(Shape::fill(&config(Kind::Microsoft, peak), 100_000).peak2, peak2, 1e-15);
    }
}

#[test]
fn the_continuous_curve_gives_the_studys_figures() {
    let s = schedule(&config(Kind::TwoStage, 1.5e-3), 30_000);
    for (step, figure) in [(1000, 0.001479), (2000, 0.001444), (3000, 0.001410), (4000, 0.001376)] {
        close(s.at(step).lr, figure, 0.5e-6);
    }
    let s = schedule(&config(Kind::TwoStage, 5e-4), 10_000);
    close(s.at(1000).lr, 0.000477, 0.5e-6);
    close(s.at(2000).lr, 0.000441, 0.5e-6);
    close(s.at(374).lr, 5e-4 * 374.0 / 375.0, 1e-15);
    close(s.at(375).lr, 5e-4, 1e-15);
    close(s.at(4999).lr, s.at(5000).lr, 1e-7);
    close(s.at(5000).lr, 5e-4 * 2.0 / 3.0, 1e-15);
    close(s.at(10_000).lr, 5e-7, 1e-15);
}

#[test]
fn weight_decay_switches_at_half_way_and_only_in_two_stages() {
    for kind in Kind::ALL {
        let s = schedule(&config(kind, 1e-3), 10_000);
        let second = if kind.is_two_stage() { 0.0 } else { 0.1 };
        let decays = [0, 4999, 5000, 10_000].map(|step| s.at(step).weight_decay);
        assert_eq!(decays, [0.1, 0.1, second, second], "{}", kind.name());
        let kept = ScheduleConfig { weight_decay2: Some(0.05), ..config(kind, 1e-3) };
        let s = schedule(&kept, 10_000);
        assert_eq!([s.at(4999).weight_decay, s.at(5000).weight_decay], [0.1, 0.05]);
    }
}

#[test]
fn an_odd_number_of_steps_switches_where_each_formula_says() {
    let microsoft = schedule(&config(Kind::Microsoft, 1e-3), 1001);
    assert_eq!([500, 501].map(|step| microsoft.at(step).weight_decay), [0.1, 0.0]);
    assert_eq!([500, 501].map(|step| microsoft.phase(step)), [Phase::Stage1, Phase::Stage2]);
    let continuous = schedule(&config(Kind::TwoStage, 1e-3), 1001);
    assert_eq!([499, 500].map(|step| continuous.at(step).weight_decay), [0.1, 0.0]);
    close(continuous.at(500).lr, 1e-3 * 2.0 / 3.0, 1e-15);
}

#[test]
fn cosine_linear_constant_and_wsd_pass_through_their_marks() {
    let warm = |kind| ScheduleConfig { warmup: Some(1000), ..config(kind, 3e-4) };
    let marks: [(Kind, [f64; 5]); 4] = [
        (Kind::Cosine, [1.5e-4, 3e-4, 1.65e-4, 3e-5, 3e-5]),
        (Kind::Linear, [1.5e-4, 3e-4, 1.5e-4, 0.0, 0.0]),
        (Kind::Constant, [1.5e-4, 3e-4, 3e-4, 3e-4, 3e-4]),
        (Kind::Wsd, [1.5e-4, 3e-4, 3e-4, 0.0, 0.0]),
    ];
    for (kind, rates) in marks {
        let s = schedule(&warm(kind), 21_000);
        for (step, rate) in [500, 1000, 11_000, 21_000, 30_000].into_iter().zip(rates) {
            close(s.at(step).lr, rate, 1e-15);
        }
    }
    let s = schedule(&config(Kind::Wsd, 1e-3), 1000);
    assert_eq!([0, 799, 800].map(|step| s.at(step).lr), [1e-3; 3]);
    close(s.at(900).lr, 5e-4, 1e-15);
}

#[test]
fn phases_and_boundaries_name_the_stages() {
    let s = schedule(&config(Kind::Microsoft, 1.5e-3), 10_000);
    let names = [0, 374, 375, 4999, 5000, 10_000].map(|step| s.phase(step).name());
    assert_eq!(names, ["warmup", "warmup", "stage-1", "stage-1", "stage-2", "stage-2"]);
    assert_eq!(s.boundaries(), [0, 2500, 5000, 7500, 10_000]);
    let s = schedule(&config(Kind::Wsd, 1e-3), 1000);
    assert_eq!(s.boundaries(), [0, 250, 500, 750, 800, 1000]);
    assert_eq!([s.phase(799), s.phase(800)], [Phase::Stable, Phase::Decay]);
    assert_eq!(schedule(&config(Kind::Linear, 1e-3), 1).boundaries(), [0, 1]);
}

#[test]
fn lambda_gives_the_published_ends_and_middles() {
    use LambdaKind::*;
    let at = |kind, k, n, step| lambda(kind, k, n, 5000).at(step).lambda;
    assert_eq!(at(One, None, None, 0), 1.0);
    assert_eq!(at(Linear, None, None, 1250), 0.25);
    assert_eq!(at(Accelerated, None, None, 1250), 0.5);
    assert_eq!(at(Accelerated, None, None, 2500), 1.0);
    assert_eq!(at(FixedN, None, Some(1000), 500), 0.5);
    assert_eq!(at(FixedN, None, None, 1000), 1.0);
    close(at(Exponential, None, None, 500), 1.0 - 0.9f64.powi(4), 1e-15);
    close(at(Exponential, Some(10.0), None, 500), 1.0 - 0.9f64.powi(10), 1e-15);
    close(at(Sigmoid, Some(15.0), None, 5000), 0.99945, 0.5e-5);
    close(at(Sigmoid, None, None, 0), 1.0 - 0.99945, 0.5e-5);
    close(at(Sigmoid, Some(100.0), None, 2500), 0.5, 1e-15);
    close(at(Cosine, None, None, 2500), 0.5, 1e-15);
    for kind in [Linear, Accelerated, FixedN, Exponential, Cosine] {
        assert_eq!((at(kind, None, None, 0), at(kind, None, None, 5000)), (0.0, 1.0));
    }
}

#[test]
fn contradictions_name_their_key() {
    let base = || config(Kind::Microsoft, 1e-3);
    type Spoil = fn(&mut ScheduleConfig);
    let cases: [(&str, Spoil); 12] = [
        ("schedule.warmup", |c| c.warmup = Some(1000)),
        ("schedule.warmup", |c| c.warmup = Some(600)),
        ("schedule.peak", |c| c.peak = Some(-1e-3)),
        ("schedule.peak", |c| c.peak = Some(0.0)),
        ("schedule.peak", |c| c.peak = Some(f64::NAN)),
        ("schedule.peak2", |c| (c.kind, c.peak2) = (Kind::Cosine, Some(1e-4))),
        ("schedule.peak2", |c| (c.kind, c.peak2) = (Kind::TwoStage, Some(1e-4))),
        ("schedule.floor", |c| c.floor = Some(9e-4)),
        ("schedule.floor", |c| (c.kind, c.floor) = (Kind::Constant, Some(0.0))),
        ("schedule.decay", |c| c.decay = Some(0.2)),
        ("schedule.decay", |c| (c.kind, c.decay) = (Kind::Wsd, Some(1.5))),
        ("schedule.weight_decay2", |c| c.weight_decay2 = Some(-0.1)),
    ];
    for (index, (key, spoil)) in cases.into_iter().enumerate() {
        let mut config = base();
        spoil(&mut config);
        let found = Schedule::new(&config, &LambdaConfig::default(), 0.1, 1000).unwrap_err();
        assert_eq!(found.key, key, "case {index}: {found}");
    }
    let lambdas = [
        (LambdaKind::Linear, Some(2.0), None),
        (LambdaKind::Sigmoid, Some(0.0), None),
        (LambdaKind::Sigmoid, None, Some(5)),
        (LambdaKind::FixedN, None, Some(1001)),
        (LambdaKind::FixedN, None, Some(0)),
    ];
    for (kind, k, n) in lambdas {
        let lambda = LambdaConfig { kind, k, n, ..LambdaConfig::default() };
        let found = Schedule::new(&base(), &lambda, 0.1, 1000).unwrap_err();
        assert!(found.key.starts_with("lambda."), "{found}");
    }
    let zero = Schedule::new(&base(), &LambdaConfig::default(), 0.1, 0).unwrap_err();
    assert_eq!(zero.key, "train.steps");
}

#[test]
fn short_runs_shorten_the_warm_up_that_was_left_out() {
    for kind in [Kind::Microsoft, Kind::TwoStage] {
        let s = schedule(&config(kind, 1e-3), 400);
        assert_eq!([s.phase(39), s.phase(40)], [Phase::Warmup, Phase::Stage1]);
        for steps in 1..20 {
            assert!(schedule(&config(kind, 1e-3), steps).at(steps).lr > 0.0);
        }
    }
}

proptest! {
    #[test]
    fn any_schedule_stays_within_its_bounds(
        kind in proptest::sample::select(Kind::ALL.to_vec()),
        lambda in proptest::sample::select(LambdaKind::ALL.to_vec()),
        peak in 1e-4f64..1.0,
        warmup in proptest::option::of(0u64..2000),
        steps in 1u64..5000,
    ) {
        let config = ScheduleConfig { warmup, ..config(kind, peak) };
        let lambda = LambdaConfig { kind: lambda, ..Default::default() };
        let Ok(s) = Schedule::new(&config, &lambda, 0.1, steps) else {
            prop_assert!(warmup.is_some());
            return Ok(());
        };
        let mut last = 0.0;
        for step in 0..=steps + 1 {
            let point = s.at(step);
            prop_assert!((0.0..=peak * (1.0 + 1e-12)).contains(&point.lr), "{point:?}");
            prop_assert!((last..=1.0).contains(&point.lambda), "{point:?}");
            last = point.lambda;
        }
        let boundaries = s.boundaries();
        prop_assert!(boundaries.is_sorted() && boundaries.first() == Some(&0));
        prop_assert_eq!(boundaries.last(), Some(&steps));
    }
}

#[test]
fn layers_that_take_turns_are_quantised_one_after_the_other() {
    let at = |lambda: f32| [0, 1, 2, 3].map(|rank| Order::of_layer(lambda, rank, 4));
    assert_eq!(at(0.0), [0.0; 4]);
    assert_eq!(at(0.375), [1.0, 0.5, 0.0, 0.0]);
    assert_eq!(at(1.0), [1.0; 4]);
    let config = LambdaConfig { order: Order::LastFirst, ..LambdaConfig::default() };
    let error = Schedule::new(&ScheduleConfig::default(), &config, 0.1, 100).unwrap_err();
    assert_eq!(error.key, "lambda.order");
}
