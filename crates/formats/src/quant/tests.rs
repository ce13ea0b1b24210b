//! Every format of the registry through the same tests, against ggml's own bytes, and the numbers that forks share.

use super::*;
use crate::hostile::{Random, cases};
use crate::safetensors::File;
use proptest::prelude::*;
use std::path::Path;

fn golden() -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/formats/blocks.safetensors");
    File::open(&path).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn decoded(format: &dyn BlockFormat, tensor: &[u8], elements: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; elements];
    format.decode(tensor, 0, &mut out).unwrap();
    out
}

/// A tensor of these codes and this scale.
fn ternary_tensor(format: &dyn TernaryFormat, codes: &[i8], scale: f32) -> Vec<u8> {
    let mut tensor = vec![0xaa; format.bytes_for(codes.len()).unwrap() - format.tail_bytes()];
    format.encode_codes(codes, scale, &mut tensor).unwrap();
    tensor.extend(format.tail(scale));
    tensor
}

fn ternaries() -> impl Iterator<Item = &'static dyn TernaryFormat> {
    FORMATS.iter().filter_map(|format| format.ternary())
}

#[test]
fn every_encoder_writes_ggmls_bytes() {
    let golden = golden();
    let values = golden.f32("values").unwrap();
    for format in FORMATS.iter().filter(|format| format.name() != "F32") {
        let Some(encode) = format.encoder() else {
            continue;
        };
        let mut bytes = vec![0; format.bytes_for(values.len()).unwrap()];
        encode(&values, &mut bytes);
        let expected = golden.bytes(&format!("bytes/{}", format.name())).unwrap();
        let differing = bytes.iter().zip(expected).filter(|(a, b)| a != b).count();
        assert_eq!((differing, bytes.len()), (0, expected.len()), "{}", format.name());
    }
}

#[test]
fn every_decoder_gives_ggmls_values_bit_for_bit() {
    let golden = golden();
    let mut compared = 0;
    for format in FORMATS {
        for prefix in ["", "_drawn"] {
            let source = if prefix.is_empty() { "bytes" } else { "drawn" };
            let name = format.name();
            let Ok(expected) = golden.f32(&format!("decoded{prefix}/{name}")) else {
                continue;
            };
            let bytes = golden.bytes(&format!("{source}/{name}")).unwrap();
            let values = decoded(*format, bytes, expected.len());
            assert_eq!(bits(&values), bits(&expected), "{source}/{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 9 + 7, "formats in the golden file, and of these drawn ones");
}

#[test]
fn ternary_codes_are_where_the_reference_has_them() {
    let golden = golden();
    let codes: &[i8] = bytemuck::cast_slice(golden.bytes("codes").unwrap());
    for format in ternaries() {
        let name = format.name();
        let source =
            golden.bytes(&format!("codes/{name}")).or_else(|_| golden.bytes(&format!("bytes/{name}")));
        let source = source.unwrap();
        let mut read = vec![9; codes.len()];
        format.codes(source, 0, &mut read).unwrap();
        assert_eq!((format.scale(source), &read[..]), (Ok(Scale::One(0.75)), codes), "{name}");
        let written = ternary_tensor(format, codes, 0.75);
        let blocks = written.len() - format.tail_bytes();
        assert_eq!(written[..blocks], source[..blocks], "{name}");
    }
}

#[test]
fn every_format_refuses_what_does_not_fit() {
    for (i, format) in FORMATS.iter().enumerate() {
        let (name, block) = (format.name(), format.block_elements());
        assert_eq!(named(&name.to_lowercase()).unwrap().name(), name);
        assert!(FORMATS[..i].iter().all(|other| other.name() != name), "{name} is there twice");
        assert_eq!(format.bytes_for(0), Some(format.tail_bytes()));
        assert_eq!(format.bytes_for(3 * block), Some(3 * format.block_bytes() + format.tail_bytes()));
        let most = usize::MAX - usize::MAX % block;
        assert_eq!(format.bytes_for(most).is_none(), most / block > usize::MAX / format.block_bytes());
        format.check_row(2 * block).unwrap();
        if block > 1 {
            assert_eq!(format.bytes_for(block + 1), None, "{name}");
            assert!(format.check_row(block / 2).unwrap_err().contains(name));
        }
        let tensor = vec![1; format.bytes_for(3 * block).unwrap()];
        let decode = |bytes: &[u8], start, elements| format.decode(bytes, start, &mut vec![0.0; elements]);
        decode(&tensor, block, 2 * block).unwrap();
        decode(&tensor, 3 * block, 0).unwrap();
        for (start, elements) in [(block, 3 * block), (4 * block, 0), (most, block), (most, 2 * block)] {
            let sentence = decode(&tensor, start, elements).unwrap_err();
            assert!(sentence.contains("beyond a tensor of 3"), "{name}: {sentence}");
        }
        if block > 1 {
            assert!(decode(&tensor, 1, block).unwrap_err().contains("no whole"));
            assert!(decode(&tensor, 0, block - 1).unwrap_err().contains("no whole"));
        }
        if format.block_bytes() > 1 {
            assert!(decode(&tensor[1..], 0, 0).unwrap_err().contains("no whole"));
        }
        if format.tail_bytes() > 0 {
            assert!(decode(&[], 0, 0).is_err(), "{name} without its tail");
        }
    }
    assert!(named("tq20").unwrap_err().contains("'TQ2_0'"));
}

#[test]
fn pieces_of_a_tensor_are_the_whole() {
    let mut random = Random(3);
    for format in FORMATS {
        let (name, block) = (format.name(), format.block_elements());
        let codes: Vec<i8> = (0..4 * block).map(|_| random.below(3) as i8 - 1).collect();
        let values: Vec<f32> = codes.iter().map(|&code| f32::from(code) * 0.3).collect();
        let tensor = match (format.ternary(), format.encoder()) {
            (Some(ternary), _) => ternary_tensor(ternary, &codes, 0.3),
            (None, Some(encode)) => {
                let mut tensor = vec![0; format.bytes_for(values.len()).unwrap()];
                encode(&values, &mut tensor);
                tensor
            }
            (None, None) => vec![0x11; format.bytes_for(values.len()).unwrap()],
        };
        let whole = decoded(*format, &tensor, values.len());
        for (i, expected) in whole.chunks_exact(block).enumerate() {
            let mut piece = vec![f32::NAN; block];
            format.decode(&tensor, i * block, &mut piece).unwrap();
            assert_eq!(bits(&piece), bits(expected), "{name}");
            if let Some(ternary) = format.ternary() {
                let mut piece = vec![9; block];
                ternary.codes(&tensor, i * block, &mut piece).unwrap();
                assert_eq!(piece, codes[i * block..][..block], "{name}");
            }
        }
    }
}

#[test]
fn blocks_of_zeros_have_no_say_in_the_scale() {
    for format in [&TQ1_0 as &dyn TernaryFormat, &TQ2_0] {
        let encode = format.encoder().unwrap();
        let quantised = |scales: [f32; 3]| {
            let values: Vec<f32> =
                scales.iter().flat_map(|&s| (0..256).map(move |i| s * (i % 3 - 1) as f32)).collect();
            let mut tensor = vec![0; format.bytes_for(values.len()).unwrap()];
            encode(&values, &mut tensor);
            tensor
        };
        assert_eq!(format.scale(&quantised([0.0, 0.5, 0.5])), Ok(Scale::One(0.5)));
        assert_eq!(format.scale(&quantised([0.0, 0.0, 0.0])), Ok(Scale::One(0.0)));
        assert_eq!(format.scale(&quantised([0.5, 0.25, 0.5])), Ok(Scale::PerBlock));
        let mut tensor = quantised([0.5, 0.5, 0.5]);
        let end = tensor.len();
        tensor[end - 2..].copy_from_slice(&[0, 0]);
        assert_eq!(format.scale(&tensor), Ok(Scale::PerBlock), "a scale of 0 under codes that are not");
        tensor[end - 2..].copy_from_slice(&half_bytes(-0.5));
        assert_eq!(format.scale(&tensor), Ok(Scale::PerBlock));
        tensor[end - 2..].copy_from_slice(&half_bytes(f32::NAN));
        assert!(format.scale(&tensor).unwrap_err().contains("block 2"));
        for scale in [1e6, 1e-9, -1.0, f32::NAN] {
            assert!(format.encode_codes(&[1; 256], scale, &mut vec![0; format.block_bytes()]).is_err());
        }
    }
}

#[test]
fn the_tail_of_i2_s_is_a_scale_and_zeros_and_its_rest_is_not_read() {
    let mut tensor = ternary_tensor(&I2_S, &[1; 128], 0.1);
    assert_eq!(tensor.len(), 64);
    assert_eq!((&tensor[32..36], &tensor[36..]), (&0.1f32.to_le_bytes()[..], &[0; 28][..]));
    tensor[36..].fill(0xff);
    assert_eq!(I2_S.scale(&tensor), Ok(Scale::One(0.1)));
    assert_eq!(decoded(&I2_S, &tensor, 128), [0.1; 128]);
    for scale in [f32::NAN, f32::INFINITY, -1.0] {
        tensor[32..36].copy_from_slice(&scale.to_le_bytes());
        assert!(I2_S.scale(&tensor).is_err());
        assert!(I2_S.encode_codes(&[0; 128], scale, &mut [0; 32]).is_err());
    }
}

#[test]
fn an_illegal_code_is_named_by_its_element() {
    let mut tensor = ternary_tensor(&I2_S, &[0; 256], 1.0);
    tensor[32 + 5] |= 3 << 2;
    let sentence = I2_S.codes(&tensor, 128, &mut [0; 128]).unwrap_err();
    assert!(sentence.contains(&format!("element {} ", 128 + 64 + 5)), "{sentence}");
    I2_S.codes(&tensor, 0, &mut [0; 128]).unwrap();
    let mut tensor = ternary_tensor(&TQ2_0, &[0; 512], 1.0);
    tensor[66 + 32 + 5] |= 3 << 4;
    let sentence = TQ2_0.codes(&tensor, 256, &mut [0; 256]).unwrap_err();
    assert!(sentence.contains(&format!("element {} ", 256 + 128 + 64 + 5)), "{sentence}");
}

#[test]
fn a_number_means_what_its_file_says() {
    let name =
        |architecture, file_type, number| match resolve(architecture, file_type, number, I2sLayout::X86) {
            Ok(format) => format.name().to_owned(),
            Err(why) => why,
        };
    for (architecture, file_type, number, expected) in [
        ("llama", None, 0, "F32"),
        ("llama", Some(37), 35, "TQ2_0"),
        ("bitnet-b1.58", Some(40), 36, "I2_S"),
        ("bitnet", None, 36, "I2_S"),
        ("llama", Some(40), 36, "I2_S"),
        ("bitnet-25", Some(40), 38, "TL1"),
        ("BitNet", Some(40), 39, "TL2"),
        ("llama", Some(1), 39, "MXFP4"),
        ("llama", Some(1), 38, "not known"),
        ("llama", None, 36, "file type none"),
        ("qwen2", Some(15), 36, "only in BitNet files"),
        ("llama", Some(1), 135, "IQ2_BN"),
        ("llama", Some(1), u32::MAX, "not known"),
    ] {
        let found = name(architecture, file_type, number);
        assert!(found.contains(expected), "{architecture} {file_type:?} {number}: {found}");
    }
    assert_eq!(resolve("bitnet", None, 36, I2sLayout::Arm).unwrap().name(), "I2_S_ARM");
}

#[test]
fn any_bytes_end_in_values_or_a_sentence() {
    for format in FORMATS {
        let mut random = Random(format.ggml_type().into());
        let (block, bytes) = (format.block_elements(), format.block_bytes());
        let mut tensor = vec![0; 2 * bytes + format.tail_bytes() + 1];
        let (mut values, mut codes) = (vec![0.0; 3 * block], vec![0; 3 * block]);
        let (mut taken, begin) = (0, std::time::Instant::now());
        for _ in 0..cases() {
            tensor.as_chunks_mut::<8>().0.iter_mut().for_each(|chunk| *chunk = random.next().to_le_bytes());
            let length = [bytes * random.below(3) + format.tail_bytes(), random.below(tensor.len() + 1)];
            let tensor = &tensor[..length[usize::from(random.below(4) == 0)]];
            let aligned = random.below(4) != 0;
            let pick = |random: &mut Random| {
                if aligned { block * random.below(3) } else { random.below(3 * block) }
            };
            let (start, elements) = (pick(&mut random), pick(&mut random));
            taken += usize::from(format.decode(tensor, start, &mut values[..elements]).is_ok());
            if let Some(ternary) = format.ternary() {
                let _ = ternary.scale(tensor);
                let _ = ternary.codes(tensor, start, &mut codes[..elements]);
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!("{}: {} drawn tensors, {taken} decoded, {seconds:.1} s", format.name(), cases());
    }
}

/// Bound of the relative error of a value above half the largest of its block (and where f16 is normal).
const PRECISION: &[(&str, f32)] = &[
    ("F32", 0.0),
    ("F16", 5e-4),
    ("BF16", 4e-3),
    ("Q8_0", 9e-3),
    ("Q4_0", 0.3),
    ("Q4_1", 0.16),
    ("Q6_K", 0.08),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn large_values_survive_quantisation(seed: u64, exponent in -6i32..6) {
        let mut random = Random(seed);
        let size = 2f32.powi(exponent);
        let values: Vec<f32> = (0..256).map(|_| (random.below(2001) as f32 / 1000.0 - 1.0) * size).collect();
        for (name, bound) in PRECISION {
            let format = named(name).unwrap();
            let mut bytes = vec![0; format.bytes_for(256).unwrap()];
            format.encoder().unwrap()(&values, &mut bytes);
            let blocks = values.chunks(format.block_elements());
            let back = decoded(format, &bytes, 256);
            for (block, back) in blocks.zip(back.chunks(format.block_elements())) {
                let least = (abs_max(block) / 2.0).max(1e-4);
                for (value, back) in block.iter().zip(back).filter(|(value, _)| value.abs() > least) {
                    let error = ((back - value) / value).abs();
                    prop_assert!(error <= *bound, "{}: {} as {}, error {}", name, value, back, error);
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_encoded_as_something(bits in prop::collection::vec(any::<u32>(), 256)) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for format in FORMATS {
            if let Some(encode) = format.encoder() {
                let mut bytes = vec![0; format.bytes_for(256).unwrap()];
                encode(&values, &mut bytes);
                let _ = decoded(*format, &bytes, 256);
            }
        }
    }

    #[test]
    fn any_codes_go_round(seed: u64, blocks in 0usize..4, scale in 1e-4f32..1e4) {
        let mut random = Random(seed);
        for format in ternaries() {
            let codes: Vec<i8> = (0..blocks * format.block_elements()).map(|_| random.below(3) as i8 - 1).collect();
            let tensor = ternary_tensor(format, &codes, scale);
            prop_assert_eq!(Some(tensor.len()), format.bytes_for(codes.len()));
            let mut read = vec![9; codes.len()];
            format.codes(&tensor, 0, &mut read).unwrap();
            prop_assert_eq!(&read, &codes);
            let Ok(Scale::One(kept)) = format.scale(&tensor) else { panic!("{} has one scale", format.name()) };
            if codes.iter().any(|&code| code != 0) {
                let precision = if format.tail_bytes() > 0 { 0.0 } else { 1.0 / 2048.0 };
                prop_assert!((kept - scale).abs() <= scale * precision, "{} for {}", kept, scale);
            }
            let weights = decoded(format, &tensor, codes.len());
            prop_assert!(weights.iter().zip(&codes).all(|(&w, &code)| w == kept * f32::from(code)));
        }
    }
}
