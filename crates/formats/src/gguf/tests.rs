//! Reader and writer against each other, against a file of the reference implementation, and against hostile bytes.

use super::*;
use crate::hostile;
use crate::quant::{F32, FORMATS, I2_S, I2_S_ARM, Q8_0, TQ2_0};
use proptest::prelude::*;

/// A file of every metadata type by the reference implementation; see `tools/golden/gguf_blocks.py`.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/formats/small.gguf")
}

fn bitnet() -> Vec<(String, Value)> {
    let entries: [(&str, Value); 4] = [
        (ARCHITECTURE, "bitnet-b1.58".into()),
        (FILE_TYPE, 40u32.into()),
        ("bitnet-b1.58.block_count", 1u32.into()),
        ("tokenizer.ggml.tokens", vec!["<s>".to_owned(), "é".to_owned()].into()),
    ];
    entries.map(|(key, value)| (key.to_owned(), value)).into()
}

fn declare(name: &str, shape: &[usize], format: &'static dyn BlockFormat) -> Declaration {
    Declaration { name: name.to_owned(), shape: shape.to_vec(), format }
}

/// Three tensors whose bytes are their place in the file's data, and an empty one.
fn small(path: &Path) -> Vec<Declaration> {
    let tensors = vec![
        declare("norm", &[5], &F32),
        declare("q", &[2, 128], &I2_S),
        declare("none", &[0, 32], &Q8_0),
        declare("k", &[3, 32], &Q8_0),
    ];
    let mut writer = Writer::create(path, &bitnet(), &tensors).unwrap();
    writer.write("norm", &[1; 12]).unwrap();
    writer.write("norm", &[2; 8]).unwrap();
    writer.write("q", &[0x55; 96]).unwrap();
    writer.write("k", &[3; 102]).unwrap();
    writer.finish().unwrap();
    tensors
}

fn open(bytes: &[u8]) -> Result<File, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    std::fs::write(&path, bytes).unwrap();
    File::open(&path).map_err(|error| error.to_string())
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let tensors = small(&path);
    let file = File::open(&path).unwrap();
    assert_eq!((file.version(), file.alignment(), file.architecture()), (3, 32, "bitnet-b1.58"));
    assert_eq!(file.metadata(), bitnet());
    assert_eq!(file.strings("tokenizer.ggml.tokens").unwrap()[1], "é");
    for (declared, read) in tensors.iter().zip(file.tensors()) {
        let format = read.format.as_ref().unwrap();
        assert_eq!((&read.name, &read.shape), (&declared.name, &declared.shape));
        assert_eq!(format.name(), declared.format.name());
    }
    assert_eq!(file.tensor("norm").unwrap().bytes, [[1; 12].as_slice(), &[2; 8]].concat());
    assert_eq!(file.tensor("k").unwrap().bytes, [3; 102]);
    assert!(file.tensor("none").unwrap().bytes.is_empty());
    let q = file.tensor("q").unwrap();
    let mut codes = [9; 128];
    q.codes_into(128, &mut codes).unwrap();
    assert_eq!((codes, q.bytes.len()), ([0; 128], 96));
    assert_eq!(q.scale().unwrap(), Some(Scale::One(f32::from_le_bytes([0x55; 4]))));
    assert_eq!(file.tensor("k").unwrap().scale().unwrap(), None);
    assert_eq!(std::fs::metadata(&path).unwrap().len() % 32, 0, "the last tensor is padded too");
    let arm = File::open_with(&path, I2sLayout::Arm).unwrap();
    assert_eq!(arm.tensor("q").unwrap().format.name(), "I2_S_ARM");
}

#[test]
fn the_reference_file_is_read() {
    let file = File::open(&golden()).unwrap();
    assert_eq!((file.alignment(), file.file_type()), (64, None));
    let number = |key| file.get(key).unwrap();
    assert_eq!((number("a.u8"), number("a.i8")), (&Value::U8(255), &Value::I8(-128)));
    assert_eq!((number("a.u16"), number("a.i16")), (&Value::U16(65535), &Value::I16(-32768)));
    assert_eq!((number("a.u32"), number("a.i32")), (&Value::U32(u32::MAX), &Value::I32(i32::MIN)));
    assert_eq!((number("a.u64"), number("a.i64")), (&Value::U64(u64::MAX), &Value::I64(i64::MIN)));
    assert_eq!((number("a.f32"), number("a.f64")), (&Value::F32(0.1), &Value::F64(0.1)));
    assert!(file.bool("a.bool").unwrap());
    assert_eq!(file.str("a.text").unwrap(), "Grüße, 世界");
    assert_eq!(file.strings("a.texts").unwrap(), ["a", "", "ö"]);
    assert_eq!(file.i32s("a.i32s").unwrap(), [1, -2, 3]);
    assert_eq!(file.f32s("a.f32s").unwrap(), [0.5, -1.5]);
    assert_eq!(number("a.bools"), &Value::Array(Array::Bool(vec![true, false])));
    assert_eq!(file.i32s("a.bytes").unwrap(), [0, 255]);
    // The sums that the reference reader gives.
    for (name, shape, sum) in [
        ("token_embd.weight", &[3, 256][..], 0.421930),
        ("output_norm.weight", &[5], -0.228299),
        ("blk.0.tq2_0.weight", &[2, 256], -12.175781),
        ("blk.0.q8_0.weight", &[2, 256], 28.792892),
    ] {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.info.shape, shape, "{name}");
        let mut values = vec![0.0; tensor.info.elements()];
        tensor.f32_into(0, &mut values).unwrap();
        let found: f64 = values.iter().map(|&value| f64::from(value)).sum();
        assert!((found - sum).abs() < 1e-6, "{name}: {found}");
    }
}

/// Needs a Python with the package `gguf`: `TRILOBIT_PYTHON=python cargo test -p formats reference_reader`.
#[test]
fn the_reference_reader_reads_what_is_written() {
    let Some(python) = std::env::var_os("TRILOBIT_PYTHON") else {
        println!("1 test skipped: TRILOBIT_PYTHON names no Python with the package gguf");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let values: Vec<f32> = (0..512).map(|i| (i as f32 * 0.7).sin() * 0.1).collect();
    let encoded: Vec<_> = FORMATS.iter().filter_map(|format| Some((*format, format.encoder()?))).collect();
    let tensors: Vec<_> =
        encoded.iter().map(|(format, _)| declare(format.name(), &[2, 1, 256], *format)).collect();
    let metadata = every_type().into_iter().filter(|(key, _)| key != "nested").collect::<Vec<_>>();
    let mut writer = Writer::create(&path, &metadata, &tensors).unwrap();
    for (format, encode) in &encoded {
        let mut bytes = vec![0; format.bytes_for(values.len()).unwrap()];
        encode(&values, &mut bytes);
        bytes.chunks(100).for_each(|piece| writer.write(format.name(), piece).unwrap());
    }
    writer.finish().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/golden/gguf_blocks.py");
    let output = std::process::Command::new(python).arg(script).arg("--read").arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(text.ends_with("OK\n"), "{}", String::from_utf8_lossy(&output.stderr));
    let file = File::open(&path).unwrap();
    for (format, _) in encoded {
        let name = format.name();
        let mut read = vec![0.0; 512];
        file.tensor(name).unwrap().f32_into(0, &mut read).unwrap();
        let sum: f64 = read.iter().map(|&value| f64::from(value)).sum();
        assert!(text.contains(&format!("{name} {name} [2, 1, 256] sum {sum:.6}\n")), "{name} {sum:.6}");
    }
}

#[test]
fn getters_convert_integers_and_name_what_is_missing() {
    let file = File::open(&golden()).unwrap();
    assert_eq!((file.u32("a.u8").unwrap(), file.u64("a.u64").unwrap()), (255, u64::MAX));
    assert_eq!((file.f32("a.f32").unwrap(), file.f32("a.f64").unwrap()), (0.1, 0.1));
    let sentence = |result: Result<u32, FileError>| result.unwrap_err().to_string();
    assert!(sentence(file.u32("a.u64")).contains("the type u64 where a whole number below 2^32"));
    assert!(sentence(file.u32("a.i8")).contains("the type i8"));
    assert!(sentence(file.u32("a.texts")).contains("an array of 3 × text"));
    assert!(sentence(file.u32("a.u3")).contains("no key 'a.u3' (did you mean"));
    assert!(file.f32("a.u8").is_err() && file.bool("a.u8").is_err() && file.i32s("a.f32s").is_err());
    let absent = file.tensor("token_embed.weight").unwrap_err().to_string();
    assert!(absent.contains("'token_embd.weight'"), "{absent}");
    assert!(file.has("output_norm.weight") && !file.has("output.weight"));
}

/// A value of every type; `nested` is an array of arrays, which the reference writer and reader do not have.
fn every_type() -> Vec<(String, Value)> {
    let nested =
        Array::Array(vec![Array::U8(vec![1]), Array::Array(vec![]), Array::String(vec!["x".into()])]);
    let values = vec![
        Value::U8(1),
        Value::I8(-1),
        Value::U16(2),
        Value::I16(-2),
        4u32.into(),
        (-4i32).into(),
        0.5f32.into(),
        false.into(),
        "text".into(),
        8u64.into(),
        Value::I64(-8),
        Value::F64(0.1),
        Array::U8(vec![1, 2]).into(),
        Array::I8(vec![-1]).into(),
        Array::U16(vec![3]).into(),
        Array::I16(vec![-3]).into(),
        Array::U32(vec![]).into(),
        vec![-5i32].into(),
        vec![0.25f32].into(),
        Array::Bool(vec![true, false]).into(),
        vec![String::new()].into(),
        Array::U64(vec![u64::MAX]).into(),
        Array::I64(vec![i64::MIN]).into(),
        Array::F64(vec![0.1]).into(),
    ];
    let mut metadata: Vec<_> =
        values.into_iter().enumerate().map(|(i, value)| (format!("k{i}"), value)).collect();
    metadata.push(("nested".to_owned(), nested.into()));
    metadata
}

#[test]
fn a_value_of_every_type_goes_round() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let metadata = every_type();
    Writer::create(&path, &metadata, &[]).unwrap().finish().unwrap();
    assert_eq!(File::open(&path).unwrap().metadata(), metadata);
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let refused = |metadata: &[(String, Value)], tensors: &[Declaration]| {
        let sentence = Writer::create(&path, metadata, tensors).unwrap_err().to_string();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of {sentence}");
        sentence
    };
    let one = |format, shape: &[usize]| [declare("w", shape, format)];
    assert!(refused(&bitnet(), &one(&I2_S, &[4, 64])).contains("rows of 64 elements are no multiple of 128"));
    assert!(refused(&bitnet(), &one(&TQ2_0, &[2, 128])).contains("multiple of 256"));
    assert!(refused(&bitnet(), &one(&I2_S_ARM, &[2, 64])).contains("could not be read back"));
    assert!(refused(&bitnet(), &one(&I2_S_ARM, &[2, 128])).contains("is read as I2_S"));
    assert!(refused(&[], &one(&I2_S, &[2, 128])).contains("only in BitNet files"));
    assert!(refused(&[], &one(&F32, &[usize::MAX, 2])).contains("too large"));
    assert!(refused(&[], &one(&F32, &[1; 9])).contains("9 dimensions"));
    let twice = [declare("w", &[1], &F32), declare("w", &[1], &F32)];
    assert!(refused(&[], &twice).contains("two tensors named 'w'"));
    let keys = [("a".to_owned(), 1u32.into()), ("a".to_owned(), 1u32.into())];
    assert!(refused(&keys, &[]).contains("'a' is there twice"));
    let deep = (0..4).fold(Array::U8(vec![]), |inner, _| Array::Array(vec![inner]));
    assert!(refused(&[("a".to_owned(), deep.into())], &[]).contains("nested deeper"));
    for alignment in [Value::U32(48), Value::U32(0), Value::U64(64), Value::U32(1 << 31)] {
        assert!(refused(&[(ALIGNMENT.to_owned(), alignment)], &[]).contains("power of two"));
    }
}

#[test]
#[should_panic(expected = "the next tensor, after 8 of its 20 bytes")]
fn a_tensor_out_of_order_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [declare("a", &[5], &F32), declare("b", &[5], &F32)];
    let mut writer = Writer::create(&folder.path().join("a"), &[], &tensors).unwrap();
    writer.write("a", &[0; 8]).unwrap();
    let _ = writer.write("b", &[0; 20]);
}

#[test]
#[should_panic(expected = "'b' has 0 bytes of 20")]
fn a_missing_tensor_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [declare("a", &[5], &F32), declare("b", &[5], &F32)];
    let mut writer = Writer::create(&folder.path().join("a"), &[], &tensors).unwrap();
    writer.write("a", &[0; 20]).unwrap();
    let _ = writer.finish();
}

#[test]
fn a_cut_at_every_byte_is_an_error() {
    let bytes = std::fs::read(golden()).unwrap();
    let file = open(&bytes).unwrap();
    let last = file.header.ranges.iter().map(|range| range.end).max().unwrap();
    for length in 0..last {
        let sentence = open(&bytes[..length]).unwrap_err();
        assert!(sentence.contains("a.gguf"), "{sentence}");
    }
    open(&bytes[..last]).unwrap();
}

/// A file of one tensor entry (rank, then its dimensions innermost first, type, offset) repeated under names a, b, ….
fn crafted(entries: &[(&[u64], u32, u64)], data_bytes: usize) -> Result<File, String> {
    let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
    bytes.extend((entries.len() as u64).to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    for (name, (dims, number, offset)) in (b'a'..).zip(entries) {
        bytes.extend(1u64.to_le_bytes());
        bytes.push(name);
        bytes.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dimension| bytes.extend(dimension.to_le_bytes()));
        bytes.extend(number.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + data_bytes, 0);
    open(&bytes)
}

#[test]
fn hostile_places_and_shapes_are_named() {
    type Case<'a> = (&'a [(&'a [u64], u32, u64)], &'a str);
    let cases: [Case; 12] = [
        (&[(&[8], 0, 0), (&[8], 0, 0)], "overlap"),
        (&[(&[16], 0, 0), (&[8], 0, 32)], "overlap"),
        (&[(&[8], 0, 32), (&[16], 0, 0)], "overlap"),
        (&[(&[8], 999, 0), (&[8], 999, 0)], "overlap"),
        (&[(&[8], 0, 4)], "no multiple of the alignment"),
        (&[(&[8], 0, 64)], "is cut"),
        (&[(&[17], 0, 0)], "is cut"),
        (&[(&[8], 0, u64::MAX - 31)], "is cut"),
        (&[(&[u64::MAX], 0, 0)], "more than any file"),
        (&[(&[1 << 32, 1 << 32], 0, 0)], "more than any file"),
        (&[(&[0, 1 << 32, 1 << 32], 0, 0)], "more than any file"),
        (&[(&[1 << 32, 1 << 32], 999, 0)], "more than any file"),
    ];
    for (entries, expected) in cases {
        let sentence = crafted(entries, 64).unwrap_err();
        assert!(sentence.contains(expected), "{entries:?}: {sentence}");
    }
    let file = crafted(&[(&[8], 0, 32), (&[8], 0, 0), (&[0], 0, 0)], 64).unwrap();
    assert_eq!(file.tensor("a").unwrap().bytes.len(), 32);
    assert!(crafted(&[(&[1; 9], 0, 0)], 64).unwrap_err().contains("9 dimensions"));
    // A type that cannot be read, and a row that is no whole number of blocks, are errors of the tensor only.
    let file = crafted(&[(&[8], 6, 0), (&[33], 8, 32)], 64).unwrap();
    assert!(file.tensor("a").unwrap_err().to_string().contains("type 6 is Q5_0"));
    assert!(file.tensor("b").unwrap_err().to_string().contains("rows of 33"));
}

#[test]
fn hostile_counts_and_lengths_are_refused_before_they_are_believed() {
    let header = |version: u32, tensors: u64, entries: u64, rest: &[u8]| {
        let mut bytes = [b"GGUF".as_slice(), &version.to_le_bytes()].concat();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.extend(rest);
        open(&bytes).unwrap_err()
    };
    assert!(header(3, 1_000_000, 0, &[]).contains("number of tensors is 1000000"));
    assert!(header(3, 200_000, 0, &[]).contains("cut inside its header"));
    assert!(header(3, 0, u64::MAX, &[]).contains("number of metadata entries"));
    assert!(header(3, u64::MAX, 0, &[]).contains("number of tensors"));
    assert!(header(3, 0, 1, &u64::MAX.to_le_bytes()).contains("length of the key"));
    assert!(header(1, 0, 0, &[]).contains("version 1"));
    assert!(header(3 << 24, 0, 0, &[]).contains("big-endian"));
    let value = |number: u32, rest: &[u8]| {
        let mut bytes = [1u64.to_le_bytes().as_slice(), b"k"].concat();
        bytes.extend(number.to_le_bytes());
        bytes.extend(rest);
        header(3, 0, 1, &bytes)
    };
    assert!(value(8, &u64::MAX.to_le_bytes()).contains("length of the text"));
    assert!(value(8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).contains("not UTF-8"));
    assert!(value(7, &[2]).contains("neither true nor false"));
    assert!(value(13, &[]).contains("value type 13"));
    for number in [0u32, 8, 9, 12] {
        for count in [100, 1 << 61, u64::MAX] {
            let array = [number.to_le_bytes().as_slice(), &count.to_le_bytes(), &[0; 16]].concat();
            assert!(value(9, &array).contains("more than the file holds"), "{number} {count}");
        }
    }
    let mut nested = Vec::new();
    (0..9).for_each(|_| nested.extend([9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat()));
    assert!(value(9, &nested).contains("nested deeper"));
    assert!(open(b"GGU").unwrap_err().contains("no GGUF file"));
    assert!(open(b"").unwrap_err().contains("no GGUF file"));
}

#[test]
fn damaged_files_end_in_a_header_or_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    small(&path);
    let good = [std::fs::read(golden()).unwrap(), std::fs::read(&path).unwrap()];
    hostile::run("gguf", &good, |bytes| {
        let Ok(header) = parse::parse(bytes, bytes.len(), I2sLayout::default()) else {
            return false;
        };
        for (tensor, range) in header.tensors.iter().zip(&header.ranges) {
            let held = &bytes[range.clone()];
            if let Ok(format) = &tensor.format {
                let elements = tensor.elements();
                assert_eq!(format.bytes_for(elements), Some(held.len()), "{tensor:?}");
                let piece = elements.min(256) / format.block_elements() * format.block_elements();
                format.decode(held, 0, &mut [0.0; 256][..piece]).unwrap();
            }
        }
        true
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tensors_go_round(
        shapes in prop::collection::vec((0usize..4, 0usize..4, 0usize..4), 0..12),
        log_alignment in 3u32..9,
        piece in 1usize..200,
    ) {
        let formats: [&'static dyn BlockFormat; 4] = [&F32, &Q8_0, &TQ2_0, &I2_S];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut metadata = bitnet();
        metadata.push((ALIGNMENT.to_owned(), (1u32 << log_alignment).into()));
        let tensors: Vec<_> = (0..).zip(&shapes).map(|(i, &(format, rows, blocks))| {
            let format = formats[format];
            declare(&format!("t{i}"), &[rows, blocks * format.block_elements()], format)
        }).collect();
        let content = |i: usize, tensor: &Declaration| vec![i as u8 + 1; write::bytes_of(tensor).unwrap()];
        let mut writer = Writer::create(&path, &metadata, &tensors).unwrap();
        for (i, tensor) in tensors.iter().enumerate() {
            content(i, tensor).chunks(piece).for_each(|piece| writer.write(&tensor.name, piece).unwrap());
        }
        writer.finish().unwrap();
        let file = File::open(&path).unwrap();
        prop_assert_eq!(file.alignment(), 1 << log_alignment);
        for (i, tensor) in tensors.iter().enumerate() {
            let read = file.tensor(&tensor.name).unwrap();
            prop_assert_eq!(read.bytes, content(i, tensor));
            prop_assert_eq!(&read.info.shape, &tensor.shape);
        }
    }

    #[test]
    fn any_bytes_end_in_a_header_or_a_sentence(content in prop::collection::vec(any::<u8>(), 0..300)) {
        let whole = [b"GGUF\x03\0\0\0".as_slice(), &content].concat();
        let _ = parse::parse(&whole, whole.len(), I2sLayout::default());
        let _ = parse::parse(&content, content.len(), I2sLayout::default());
    }
}
