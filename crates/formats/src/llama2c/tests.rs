//! Real files where they are, crafted ones, hostile ones.

use super::*;
use crate::hostile;

/// The shared test data (`TRILOBIT_DATA`, or `shared/data` beside the workspace), if it is there.
fn shared_data() -> Option<PathBuf> {
    let named = std::env::var_os("TRILOBIT_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    Some(named.unwrap_or(beside)).filter(|path| path.is_dir())
}

/// A file of these header numbers whose tensors are as `fill` says.
fn crafted(numbers: [i32; 7], ternary: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if ternary.is_some() {
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(1i32.to_le_bytes());
    }
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    if let Some(tied) = ternary {
        bytes.push(tied);
        bytes.resize(START, 0);
    }
    bytes.extend(body);
    bytes
}

/// hidden 4, ffn 8, 2 layers, 2 heads, 1 key-value head, 3 tokens, context 5.
const NUMBERS: [i32; 7] = [4, 8, 2, 2, 1, 3, 5];

/// Body bytes of a ternary file of [`NUMBERS`] with a tied head: 16 floats, then per layer (q 16, k 8, v 8, o 16, gate
/// 32, down 32, up 32) / 4 and a scale each.
fn ternary_body() -> Vec<u8> {
    let mut body: Vec<u8> = (0..16).flat_map(|i| (i as f32).to_le_bytes()).collect();
    for elements in [16, 8, 8, 16, 32, 32, 32] {
        for layer in 1..3u8 {
            body.extend((f32::from(layer) * 0.5).to_le_bytes());
            body.extend(vec![0b00_11_01_00; elements / 4]);
        }
    }
    body
}

/// The floats of a first-version file of [`NUMBERS`], numbered in their order.
fn first_body(tied: bool) -> Vec<u8> {
    let matrices = 2 * (16 + 8 + 8 + 16 + 32 + 32 + 32);
    let floats = 12 + 8 + 8 + matrices + 4 + 2 * 5 + if tied { 0 } else { 12 };
    (0..floats).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

fn open(bytes: &[u8], order: BitOrder) -> Result<File, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    std::fs::write(&path, bytes).unwrap();
    File::open(&path, order).map_err(|error| error.to_string())
}

#[test]
fn ternary_tensors_have_their_places_scales_and_orders() {
    let bytes = crafted(NUMBERS, Some(1), &ternary_body());
    let file = open(&bytes, BitOrder::LowFirst).unwrap();
    let header = file.header();
    assert_eq!((header.hidden, header.ffn, header.layers, header.context), (4, 8, 2, 5));
    assert!(header.tied && header.ternary);
    assert_eq!(file.f32(Kind::FinalNorm, 0).unwrap()[..], [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(file.f32(Kind::Embedding, 0).unwrap()[11], 15.0);
    assert_eq!((file.shape(Kind::K), file.shape(Kind::Down)), (Some((2, 4)), Some((4, 8))));
    assert_eq!((file.scale(Kind::Q, 0).unwrap(), file.scale(Kind::Up, 1).unwrap()), (0.5, 1.0));
    assert_eq!(file.codes(Kind::V, 1).unwrap(), [0, 1, -1, 0, 0, 1, -1, 0]);
    let high = open(&bytes, BitOrder::HighFirst).unwrap();
    assert_eq!(high.codes(Kind::V, 1).unwrap(), [0, -1, 1, 0, 0, -1, 1, 0]);
    for (result, expected) in [
        (file.codes(Kind::Q, 2).err(), "2 × Q, and number 2"),
        (file.codes(Kind::Embedding, 0).err(), "Embedding holds f32"),
        (file.f32(Kind::Q, 0).err(), "Q holds ternary codes"),
        (file.f32(Kind::Head, 0).err(), "has no Head"),
        (file.f32(Kind::FfnNorm, 0).err(), "has no FfnNorm"),
    ] {
        let sentence = result.unwrap().to_string();
        assert!(sentence.contains(expected), "{sentence}");
    }
    let mut illegal = bytes.clone();
    *illegal.last_mut().unwrap() = 0b10_00_00_00;
    let sentence = open(&illegal, BitOrder::LowFirst).unwrap().codes(Kind::Up, 1).unwrap_err().to_string();
    assert!(sentence.contains("element 31 of Up in layer 1"), "{sentence}");
    let scale = START + 64;
    illegal[scale..scale + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(open(&illegal, BitOrder::LowFirst).unwrap().scale(Kind::Q, 0).is_err());
}

#[test]
fn a_first_version_file_has_its_tensors_in_their_order() {
    for tied in [true, false] {
        let mut numbers = NUMBERS;
        numbers[5] *= if tied { 1 } else { -1 };
        let bytes = crafted(numbers, None, &first_body(tied));
        let file = open(&bytes, BitOrder::default()).unwrap();
        assert_eq!((file.header().tied, file.header().ternary, file.header().vocabulary), (tied, false, 3));
        let first = |kind, layer| file.f32(kind, layer).map(|values| values[0]);
        assert_eq!(first(Kind::Embedding, 0).unwrap(), 0.0);
        assert_eq!(first(Kind::AttentionNorm, 1).unwrap(), 12.0 + 4.0);
        assert_eq!(first(Kind::Q, 0).unwrap(), 20.0);
        assert_eq!(first(Kind::V, 1).unwrap(), 20.0 + 32.0 + 16.0 + 8.0);
        assert_eq!(first(Kind::FfnNorm, 0).unwrap(), 20.0 + 96.0);
        assert_eq!(first(Kind::Gate, 0).unwrap(), 124.0);
        assert_eq!(first(Kind::FinalNorm, 0).unwrap(), 124.0 + 192.0);
        match tied {
            true => assert!(first(Kind::Head, 0).is_err()),
            false => assert_eq!(first(Kind::Head, 0).unwrap(), 316.0 + 4.0 + 10.0),
        }
    }
}

#[test]
fn a_header_that_does_not_account_for_the_file_is_refused() {
    for bytes in [crafted(NUMBERS, Some(1), &ternary_body()), crafted(NUMBERS, None, &first_body(true))] {
        (0..bytes.len()).for_each(|length| drop(open(&bytes[..length], BitOrder::LowFirst).unwrap_err()));
        let longer = [&bytes[..], &[0]].concat();
        assert!(open(&longer, BitOrder::LowFirst).unwrap_err().contains("asks for"));
    }
    for (place, number, expected) in [
        (0, 0, "number 0 of its header is 0"),
        (2, i32::MAX, "number 2"),
        (5, -3, "number 5"),
        (3, 3, "do not divide"),
        (1, 1 << 24, "asks for"),
        (2, 1 << 24, "asks for"),
    ] {
        let mut numbers = NUMBERS;
        numbers[place] = number;
        let sentence = open(&crafted(numbers, Some(1), &ternary_body()), BitOrder::LowFirst).unwrap_err();
        assert!(sentence.contains(expected), "{sentence}");
    }
    let huge = crafted([1 << 24, 1 << 24, 1 << 24, 1, 1, 1 << 24, 1 << 24], Some(1), &[]);
    assert!(open(&huge, BitOrder::LowFirst).unwrap_err().contains("more than any file"));
    assert!(open(&crafted([4, 8, 2, 2, 1, i32::MIN, 5], None, &[]), BitOrder::LowFirst).is_err());
    let mut other = crafted(NUMBERS, Some(1), &ternary_body());
    other[4] = 2;
    assert!(open(&other, BitOrder::LowFirst).unwrap_err().contains("version 2"));
}

#[test]
fn damaged_files_end_in_a_header_or_a_sentence() {
    let mut own = NUMBERS;
    own[5] = -3;
    let good = [
        crafted(NUMBERS, Some(1), &ternary_body()),
        crafted(NUMBERS, None, &first_body(true)),
        crafted(own, None, &first_body(false)),
    ];
    hostile::run("llama2c", &good, |bytes| {
        let Ok((header, parts)) = parse(bytes) else {
            return false;
        };
        for part in &parts {
            let held = &bytes[part.bytes.clone()];
            assert!(part.layers > 0 && held.len().is_multiple_of(part.layers), "{header:?} {part:?}");
            if part.packed {
                let _ = unpack(&held[4..], BitOrder::LowFirst);
            }
        }
        true
    });
}

#[test]
fn real_models_are_read() {
    let Some(data) = shared_data() else {
        println!("1 test skipped: the shared test data is absent");
        return;
    };
    let models = data.join("models");
    for (name, order, hidden) in [
        ("bitllama2/bitllama-3M.bin", BitOrder::LowFirst, 256),
        ("bitllama2/bitllama-1M.msb.bin", BitOrder::HighFirst, 128),
    ] {
        let file = File::open(&models.join(name), order).unwrap();
        assert_eq!((file.header().hidden, file.header().tied), (hidden, true));
        let (mut counts, mut elements) = ([0usize; 3], 0);
        for kind in [Kind::Q, Kind::K, Kind::V, Kind::O, Kind::Gate, Kind::Down, Kind::Up] {
            for layer in 0..file.header().layers {
                assert!(file.scale(kind, layer).unwrap() > 0.0);
                let codes = file.codes(kind, layer).unwrap();
                codes.iter().for_each(|&code| counts[(code + 1) as usize] += 1);
                elements += codes.len();
            }
        }
        let share = |n: usize| n as f64 / elements as f64;
        let [minus, zero, plus] = counts.map(share);
        assert!((0.30..0.42).contains(&zero) && (minus - plus).abs() < 0.01, "{name}: {minus} {zero} {plus}");
    }
    let file = File::open(&models.join("stories260K/stories260K.bin"), BitOrder::default()).unwrap();
    assert_eq!((file.header().hidden, file.header().ffn, file.header().layers), (64, 172, 5));
    let gain = file.f32(Kind::FinalNorm, 0).unwrap();
    assert!(gain.iter().all(|gain| gain.is_finite() && *gain > 0.0), "{gain:?}");
}
