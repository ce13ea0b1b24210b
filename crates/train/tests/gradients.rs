//! Every operation's backward against central differences of its forward.

use kernels::gemm::Workspace;
use kernels::pool::{PerWorker, Pool};
use model::{Activation, Config, RopeStyle};
use train::config::HiddenKind;
use train::loss::cross_entropy::{self, Gradients, Head, IGNORE, Options};
use train::loss::hidden;
use train::loss::logits::{self, Candidate};
use train::loss::relation::{self, Cut};
use train::ops::attention::{self, Qkv, Shape};
use train::ops::gate::{self, Gated};
use train::ops::heads::{self, Heads};
use train::ops::linear::{self, Weight};
use train::ops::norm::{self, Input, RmsNorm};
use train::ops::rope::Rope;
use train::ops::{Machine, Precision, embedding};
use train::shadow::Shadow;

/// Step of the differences, and how far they may be off: f32 forwards leave about 1e-3.
const STEP: f32 = 1e-2;
const TOLERANCE: f32 = 6e-3;

fn machine(rows: usize, widest: usize) -> Machine {
    let pool = Pool::new(2);
    Machine {
        row: PerWorker::new(2, || vec![0.0; 2 * widest]),
        attention: PerWorker::new(2, || attention::Scratch::new(rows, 4)),
        pool,
        gemm: Workspace::default(),
        linear: Workspace::default(),
        dinput: Workspace::default(),
        dweight: Workspace::default(),
        logits: Workspace::default(),
        dlogits: Workspace::default(),
        ternary: kernels::ternary::select(),
        units: vec![0.0; rows],
        partials: vec![0.0; rows * widest],
    }
}

/// Fixed numbers in −1..1 that look random.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..len).map(|_| draw()).collect()
}

/// `Σ y·dy`, in f64: the scalar whose gradient a backward gives for the output gradient dy.
fn dot(y: &[f32], dy: &[f32]) -> f64 {
    y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
}

/// Compares `gradient` with central differences of `scalar` at `x`.
fn check(what: &str, x: &[f32], gradient: &[f32], mut scalar: impl FnMut(&[f32]) -> f64) {
    let largest = gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    assert!(largest > 1e-3, "{what}: the gradient is zero, which tests nothing");
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        let mut at = |value: f32| {
            moved[i] = value;
            scalar(&moved)
        };
        let difference = (at(x[i] + STEP) - at(x[i] - STEP)) / f64::from(2.0 * STEP);
        moved[i] = x[i];
        let error = (difference as f32 - gradient[i]).abs();
        assert!(error <= TOLERANCE * largest.max(1.0), "{what}[{i}]: {} against {difference}", gradient[i]);
    }
}

/// The factors and the result of a norm.
fn normalise(machine: &Machine, norm: RmsNorm, x: &[f32], rows: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut factor, mut out) = (vec![0.0; rows], vec![0.0; x.len()]);
    norm::forward_plain(machine, norm, x, &mut factor, &mut out);
    (factor, out)
}

#[test]
fn rms_norm() {
    let (rows, width, epsilon) = (5, 7, 1e-5);
    let (x, gain, dy) = (noise(rows * width, 1), noise(width, 2), noise(rows * width, 3));
    let mut machine = machine(rows, width);
    for (exists, has_gain) in [(true, true), (true, false), (false, false)] {
        let norm = RmsNorm { exists, gain: has_gain.then_some(&gain), epsilon };
        let (factor, _) = normalise(&machine, norm, &x, rows);
        let (mut dx, mut twice) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
        let mut dgain = vec![0.0; width];
        let wanted = has_gain.then_some(&mut dgain[..]);
        norm::backward(&mut machine, norm, &mut dy.clone(), (&x, &factor), (&mut dx, false), wanted);
        for _ in 0..2 {
            norm::backward(&mut machine, norm, &mut dy.clone(), (&x, &factor), (&mut twice, true), None);
        }
        assert!(dx.iter().zip(&twice).all(|(dx, twice)| 2.0 * dx == *twice), "added to what was there");
        check("x", &x, &dx, |x| dot(&normalise(&machine, norm, x, rows).1, &dy));
        if has_gain {
            check("gain", &gain, &dgain, |gain| {
                let norm = RmsNorm { exists, gain: Some(gain), epsilon };
                dot(&normalise(&machine, norm, &x, rows).1, &dy)
            });
        }
    }
}

#[test]
fn linear_layer() {
    let (rows, inputs, outputs) = (5, 6, 9);
    let (x, w, dy) = (noise(rows * inputs, 4), noise(outputs * inputs, 5), noise(rows * outputs, 6));
    let mut machine = machine(rows, outputs);
    let shadow = Shadow::default();
    let mut forward = |x: &[f32], w: &[f32]| {
        let mut floats = x.to_vec();
        let (mut factor, mut scale) = (vec![0.0; rows], vec![1.0; rows]);
        let input = Input {
            factor: &mut factor,
            scale: &mut scale,
            codes: &mut [],
            floats: &mut floats,
            adapted: false,
        };
        let weight = Weight { latent: w, shadow: &shadow, rows: outputs, cols: inputs };
        let mut y = vec![0.0; rows * outputs];
        linear::forward(&mut machine, Precision::Full, weight, &input, &mut y);
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        linear::backward(&mut machine, Precision::Full, weight, &input, &dy, (&mut dx, false), Some(&mut dw));
        (dot(&y, &dy), dx, dw)
    };
    let (_, dx, dw) = forward(&x, &w);
    check("x", &x, &dx, |x| forward(x, &w).0);
    check("w", &w, &dw, |w| forward(&x, w).0);
}

#[test]
fn gates_and_their_norm() {
    let (rows, width) = (4, 9);
    let (gate, up, dy) = (noise(rows * width, 7), noise(rows * width, 8), noise(rows * width, 9));
    let gain = noise(width, 10);
    let mut machine = machine(rows, width);
    for (activation, exists) in [Activation::Relu2, Activation::Silu].into_iter().zip([true, false]) {
        let mut forward = |gate: &[f32], up: &[f32], gain: &[f32]| {
            let norm = RmsNorm { exists, gain: Some(gain), epsilon: 1e-2 };
            let gated = Gated { activation, norm };
            let (mut factor, mut out) = (vec![0.0; rows], vec![0.0; rows * width]);
            let mut input = Input {
                factor: &mut factor,
                scale: &mut vec![0.0; rows],
                codes: &mut [],
                floats: &mut out,
                adapted: false,
            };
            gate::forward(&mut machine, gated, Precision::Full, (gate, up), &mut input);
            let value = dot(&out, &dy);
            let (mut dgate, mut dup, mut dgain) = (gate.to_vec(), up.to_vec(), vec![0.0; width]);
            let gradients = (&mut dgate[..], &mut dup[..]);
            gate::backward(&mut machine, gated, &mut dy.clone(), &factor, gradients, Some(&mut dgain));
            (value, dgate, dup, dgain)
        };
        let (_, dgate, dup, dgain) = forward(&gate, &up, &gain);
        check("gate", &gate, &dgate, |gate| forward(gate, &up, &gain).0);
        check("up", &up, &dup, |up| forward(&gate, up, &gain).0);
        if exists {
            check("gain", &gain, &dgain, |gain| forward(&gate, &up, gain).0);
        }
    }
}

fn config(heads: usize, kv_heads: usize, style: RopeStyle) -> Config {
    let text = format!(
        "hidden = 8\nlayers = 1\nheads = {heads}\nkv_heads = {kv_heads}\nhead_size = 4\nffn = 8\nvocabulary = 11\ncontext = 16"
    );
    Config { rope_style: style, ..toml::from_str(&text).unwrap() }
}

#[test]
fn rope() {
    for style in [RopeStyle::RotateHalf, RopeStyle::Interleaved] {
        let config = config(2, 2, style);
        let (rope, pool, width) = (Rope::new(&config, 5), Pool::new(2), 8);
        let (x, dy) = (noise(10 * width, 10), noise(10 * width, 11));
        let mut dx = dy.clone();
        rope.backward(&pool, &mut dx, width, 5);
        check("x", &x, &dx, |x| {
            let mut y = x.to_vec();
            rope.forward(&pool, &mut y, width, 5);
            dot(&y, &dy)
        });
    }
}

#[test]
fn attention_with_documents_and_grouped_queries() {
    for (heads, kv_heads) in [(2, 2), (4, 2), (3, 1)] {
        let config = config(heads, kv_heads, RopeStyle::RotateHalf);
        let (sequence, starts) = (6, [0, 0, 0, 3, 3, 3, 0, 0, 2, 2, 2, 5]);
        let shape = Shape { config: &config, sequence, starts: &starts };
        let rows = starts.len();
        let (query, kv) = (rows * config.query_width(), rows * config.kv_width());
        let mut machine = machine(rows, 16);
        let (q, k, v, dout) = (noise(query, 12), noise(kv, 13), noise(kv, 14), noise(query, 15));
        let mut forward = |q: &[f32], k: &[f32], v: &[f32]| {
            let (mut out, mut lse) = (vec![0.0; query], vec![0.0; rows * heads]);
            let qkv = Qkv { q, k, v };
            attention::forward(&mut machine, shape, qkv, &mut out, &mut lse);
            let (mut dq, mut dk, mut dv) = (vec![9.0; query], vec![9.0; kv], vec![9.0; kv]);
            let saved = attention::Saved { out: &out, lse: &lse, dout: &dout };
            attention::backward(&mut machine, shape, qkv, saved, &mut dq, &mut dk, &mut dv);
            (dot(&out, &dout), dq, dk, dv)
        };
        let (_, dq, dk, dv) = forward(&q, &k, &v);
        check("q", &q, &dq, |q| forward(q, &k, &v).0);
        check("k", &k, &dk, |k| forward(&q, k, &v).0);
        check("v", &v, &dv, |v| forward(&q, &k, v).0);
    }
}

#[test]
fn cross_entropy_with_every_option() {
    let (rows, hidden, vocabulary) = (6, 5, 11);
    let targets = [3, 0, IGNORE, 10, 7, 7];
    let (x, w) = (noise(rows * hidden, 16), noise(vocabulary * hidden, 17));
    let mut nats = Vec::new();
    for (label_smoothing, z_loss) in [(0.0, 0.0), (0.1, 0.0), (0.0, 0.01), (0.2, 0.05)] {
        let options = Options { label_smoothing, z_loss };
        let mut machine = machine(rows, vocabulary);
        let mut forward = |x: &[f32], weight: &[f32]| {
            let (mut logits, mut losses) = (vec![0.0; rows * vocabulary], [vec![0.0; rows], vec![0.0; rows]]);
            let (packed, logits) = (&mut false, &mut logits[..]);
            let [losses, of_text] = losses.each_mut().map(|rows| &mut rows[..]);
            let mut head = Head { weight, packed, vocabulary, hidden, logits, losses, nats: of_text };
            let (mut dx, mut dweight) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
            let gradients = Gradients { dx: &mut dx, dweight: Some(&mut dweight), factor: 1.0, lesson: None };
            let sums = cross_entropy::forward_backward(
                &mut machine,
                options,
                &mut head,
                x,
                &targets,
                Some(gradients),
            );
            (sums, dx, dweight)
        };
        let (sums, dx, dw) = forward(&x, &w);
        nats.push(sums.nats);
        check("x", &x, &dx, |x| forward(x, &w).0.loss);
        check("head", &w, &dw, |w| forward(&x, w).0.loss);
        assert!(dx[2 * hidden..3 * hidden].iter().all(|g| *g == 0.0), "an ignored target has a gradient");
        assert_eq!((sums.loss, sums.nats) == (nats[0], nats[0]), (label_smoothing, z_loss) == (0.0, 0.0));
    }
    assert!(nats.iter().all(|sum| *sum == nats[0]), "the options change −log p(target): {nats:?}");
}

#[test]
fn embedding_rows() {
    let (vocabulary, hidden, tokens) = (5, 3, [4, 1, 4, 0]);
    let (table, dy) = (noise(vocabulary * hidden, 18), noise(tokens.len() * hidden, 19));
    let mut gradient = vec![0.0; table.len()];
    embedding::backward(&mut gradient, &dy, &tokens, hidden);
    check("table", &table, &gradient, |table| {
        let mut out = vec![0.0; tokens.len() * hidden];
        embedding::forward(&mut out, table, &tokens, hidden);
        dot(&out, &dy)
    });
}

/// Logits of a student and a teacher, some far apart.
fn two_rows(width: usize) -> [Vec<f32>; 2] {
    [31, 32].map(|seed| noise(width, seed).iter().map(|value| 3.0 * value).collect())
}

#[test]
fn divergence_of_all_tokens() {
    let [student, teacher] = two_rows(9);
    for temperature in [0.7, 1.0, 5.0] {
        let loss =
            |student: &[f32]| f64::from(logits::all_tokens(student, &mut teacher.clone(), temperature, 1.0));
        let mut gradient = teacher.clone();
        logits::all_tokens(&student, &mut gradient, temperature, 1.0);
        check("all tokens", &student, &gradient, loss);
    }
}

#[test]
fn divergence_of_the_likeliest_tokens() {
    let [student, teacher] = two_rows(9);
    let mut candidates = vec![Candidate::default(); 4];
    logits::choose(&teacher, &mut candidates);
    let loss = |student: &[f32]| f64::from(logits::top_tokens(student, &mut candidates.clone(), 2.0, 1.0));
    let mut known = candidates.clone();
    logits::top_tokens(&student, &mut known, 2.0, 1.0);
    let mut gradient = vec![0.0; 9];
    known.iter().for_each(|candidate| gradient[candidate.id as usize] = candidate.gradient);
    check("likeliest tokens", &student, &gradient, loss);
}

#[test]
fn hidden_states() {
    let [student, teacher] = two_rows(8);
    for kind in [HiddenKind::Mse, HiddenKind::NormalisedMse, HiddenKind::Cosine] {
        let loss = |student: &[f32]| hidden::row(kind, student, &teacher, &mut [0.0; 8], 1.0);
        let mut gradient = vec![0.0; 8];
        hidden::row(kind, &student, &teacher, &mut gradient, 1.0);
        check(&format!("{kind:?}"), &student, &gradient, loss);
    }
}

/// Two sequences of 5 tokens; the teacher's heads are twice as wide.
#[test]
fn relations() {
    let cut = Cut { sequence: 5, heads: 2 };
    let (student, teacher) = (noise(2 * 5 * 6, 41), noise(2 * 5 * 12, 42));
    let pool = Pool::new(2);
    let run = |student: &[f32], gradient: &mut [f32]| {
        let mut scratch = PerWorker::new(2, || relation::Scratch::new(5, [3, 6]));
        relation::forward_backward(
            &pool,
            &mut scratch,
            cut,
            (student, &teacher),
            gradient,
            (1.0, &mut [0.0; 2]),
        )
    };
    let mut gradient = vec![0.0; student.len()];
    run(&student, &mut gradient);
    check("relations", &student, &gradient, |student| run(student, &mut vec![0.0; student.len()]));
}

/// Two heads of 4, a bias on all of them and a norm of each.
#[test]
fn biases_and_norms_of_heads() {
    let (rows, width, size, epsilon) = (5, 8, 4, 1e-5);
    let [x, bias, gain, dy] =
        [(rows * width, 51), (width, 52), (size, 53), (rows * width, 54)].map(|(len, seed)| noise(len, seed));
    let mut machine = machine(rows, width);
    let run = |machine: &Machine, x: &[f32], bias: &[f32], gain: &[f32]| {
        let (mut y, mut raw) = (x.to_vec(), vec![0.0; x.len()]);
        let heads = Heads { bias: Some(bias), gain: Some(gain), epsilon };
        heads::forward(machine, heads, &mut y, &mut raw, rows);
        (y, raw)
    };
    let (_, raw) = run(&machine, &x, &bias, &gain);
    let (mut dx, mut dgain, mut dbias) = (dy.clone(), vec![0.0; size], vec![0.0; width]);
    heads::norms_backward(&mut machine, (&gain, epsilon), &mut dx, &raw, rows, Some(&mut dgain));
    heads::bias_backward(&mut machine, &dx, rows, &mut dbias);
    check("heads dx", &x, &dx, |x| dot(&run(&machine, x, &bias, &gain).0, &dy));
    check("heads dbias", &bias, &dbias, |bias| dot(&run(&machine, &x, bias, &gain).0, &dy));
    check("heads dgain", &gain, &dgain, |gain| dot(&run(&machine, &x, &bias, gain).0, &dy));
}
