//! Reader and writer against each other, against the reference implementation, and against hostile bytes.

use super::*;
use crate::{hostile, limits};
use proptest::prelude::*;

fn bytes(values: &[f32]) -> &[u8] {
    bytemuck::cast_slice(values)
}

/// A small file of three types and its bytes.
fn small(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = folder.join("a.safetensors");
    let halves: Vec<u8> =
        [1.5f32, -2.0, f32::INFINITY].iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let brains: Vec<u8> =
        [1.0f32, f32::NAN].iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
    let tensors = [
        ("codes".to_owned(), Dtype::U8, vec![3], &[1u8, 2, 3][..]),
        ("w".to_owned(), Dtype::F32, vec![2, 2], bytes(&[1.0, f32::NAN, -0.0, f32::MAX])),
        ("half".to_owned(), Dtype::F16, vec![3], &halves[..]),
        ("brain".to_owned(), Dtype::BF16, vec![2, 1], &brains[..]),
        ("none".to_owned(), Dtype::F32, vec![0, 5], &[][..]),
        ("one".to_owned(), Dtype::I64, vec![], &[7, 0, 0, 0, 0, 0, 0, 0][..]),
    ];
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write(&path, &tensors, &metadata).unwrap();
    let content = std::fs::read(&path).unwrap();
    (path, content)
}

/// A file of this header and this many zero bytes of data.
fn crafted(folder: &Path, header: &str, data_bytes: usize) -> Result<File, String> {
    let path = folder.join("crafted.safetensors");
    let mut content = (header.len() as u64).to_le_bytes().to_vec();
    content.extend(header.bytes());
    content.resize(content.len() + data_bytes, 0);
    std::fs::write(&path, content).unwrap();
    File::open(&path).map_err(|e| e.to_string())
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = small(folder.path());
    let file = File::open(&path).unwrap();
    assert_eq!(file.metadata()["format"], "pt");
    let names: Vec<_> = file.tensors().map(|t| t.name.as_str()).collect();
    // Sorted by place, and an empty tensor shares its place with the one after it.
    assert_eq!(names, ["one", "w", "none", "half", "brain", "codes"]);
    let w = file.f32("w").unwrap();
    assert!(matches!(w, Cow::Borrowed(_)), "aligned F32 is not copied");
    let bits: Vec<_> = w.iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits, [1.0, f32::NAN, -0.0, f32::MAX].map(f32::to_bits));
    assert_eq!(file.f32("half").unwrap()[..], [1.5, -2.0, f32::INFINITY]);
    let brain = file.f32("brain").unwrap();
    assert!(brain[0] == 1.0 && brain[1].is_nan());
    assert_eq!(file.bytes("codes").unwrap(), [1, 2, 3]);
    assert!(file.f32("none").unwrap().is_empty());
    assert_eq!(file.info("brain").unwrap().shape, [2, 1]);
    assert!(file.f32("codes").unwrap_err().to_string().contains("holds U8"));
    let absent = file.bytes("brian").unwrap_err().to_string();
    assert!(absent.contains("no tensor 'brian'") && absent.contains("'brain'"), "{absent}");
}

#[test]
fn the_reference_implementation_agrees_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let (path, content) = small(folder.path());
    let theirs = ::safetensors::SafeTensors::deserialize(&content).unwrap();
    let ours = File::open(&path).unwrap();
    assert_eq!(theirs.len(), ours.tensors().len());
    for tensor in ours.tensors() {
        let view = theirs.tensor(&tensor.name).unwrap();
        assert_eq!((view.shape(), view.data()), (&tensor.shape[..], ours.bytes(&tensor.name).unwrap()));
        assert_eq!(format!("{:?}", view.dtype()).to_uppercase(), tensor.dtype.name());
    }
    let again = folder.path().join("b.safetensors");
    ::safetensors::serialize_to_file(theirs.tensors(), None, &again).unwrap();
    let again = File::open(&again).unwrap();
    for tensor in ours.tensors() {
        assert_eq!(again.bytes(&tensor.name).unwrap(), ours.bytes(&tensor.name).unwrap());
    }
}

#[test]
fn a_cut_at_every_byte_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, content) = small(folder.path());
    for length in 0..content.len() {
        std::fs::write(&path, &content[..length]).unwrap();
        let sentence = File::open(&path).unwrap_err().to_string();
        assert!(sentence.contains("a.safetensors"), "{sentence}");
    }
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let (path, content) = small(folder.path());
    let header_bytes = content.len() - 37;
    for bit in 0..header_bytes * 8 {
        let mut flipped = content.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &flipped).unwrap();
        if let Ok(file) = File::open(&path) {
            for tensor in file.tensors() {
                let bytes = file.bytes(&tensor.name).unwrap().len();
                assert_eq!(bytes, tensor.shape.iter().product::<usize>() * tensor.dtype.bytes());
                let _ = file.f32(&tensor.name);
            }
        }
    }
}

#[test]
fn lengths_near_the_end_of_u64_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 32, 100_000_001, 100_000_000] {
        let mut content = length.to_le_bytes().to_vec();
        content.extend(b"{}      ");
        std::fs::write(&path, content).unwrap();
        assert!(File::open(&path).unwrap_err().to_string().contains("header"));
    }
    let tensor = |shape: &str, start: u64, end: u64| {
        let header = format!(r#"{{"t":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}}}"#);
        crafted(folder.path(), &header, 16).unwrap_err()
    };
    assert!(tensor("[18446744073709551615]", 0, 16).contains("more than any file"));
    assert!(tensor("[4294967296,4294967296,0]", 0, 0).contains("more than any file"));
    assert!(tensor("[4]", u64::MAX - 15, u64::MAX).contains("its place"));
    assert!(tensor("[4]", u64::MAX, 15).contains("its place"));
    assert!(tensor("[4611686018427387903]", 0, u64::MAX - 3).contains("cut"));
    assert!(tensor("[18446744073709551616]", 0, 16).contains("damaged"));
    assert!(tensor("[-4]", 0, 16).contains("damaged"));
    assert!(tensor("[1,1,1,1,1,1,1,1,4]", 0, 16).contains("at most 8 dimensions"));
}

#[test]
fn overlaps_gaps_duplicates_and_strangers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |name: &str, start: usize, end: usize| {
        let elements = (end - start) / 4;
        format!(r#""{name}":{{"dtype":"F32","shape":[{elements}],"data_offsets":[{start},{end}]}}"#)
    };
    let refused = |entries: &[String], data: usize| {
        crafted(folder.path(), &format!("{{{}}}", entries.join(",")), data).unwrap_err()
    };
    assert!(refused(&[tensor("a", 0, 8), tensor("b", 4, 12)], 12).contains("'b' at byte 4 overlaps"));
    assert!(refused(&[tensor("a", 0, 8), tensor("b", 0, 8)], 8).contains("overlaps"));
    assert!(refused(&[tensor("a", 0, 8), tensor("b", 12, 16)], 16).contains("gap"));
    assert!(refused(&[tensor("a", 0, 8), tensor("a", 8, 16)], 16).contains("'a' is there twice"));
    assert!(refused(&[tensor("a", 0, 8)], 12).contains("end at byte 8"));
    assert!(refused(&[tensor("a", 0, 8)], 4).contains("is cut"));
    assert!(refused(&[tensor(&"n".repeat(2000), 0, 8)], 8).contains("2000 bytes"));
    let strange = tensor("a", 0, 8).replace("F32", "F6_E3M2");
    assert!(refused(&[strange], 8).contains("'F6_E3M2' is not supported"));
    assert!(crafted(folder.path(), "", 0).is_err());
    assert!(crafted(folder.path(), &"[".repeat(100_000), 0).is_err());
    assert!(crafted(folder.path(), r#"{"__metadata__":{"a":1}}"#, 0).is_err());
    assert!(crafted(folder.path(), r#"{"__metadata__":null}"#, 0).unwrap().metadata().is_empty());
}

#[test]
fn a_million_tensors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let entry = r#":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    let entries: Vec<String> = (0..1_000_000).map(|i| format!("\"{i}\"{entry}")).collect();
    let sentence = crafted(folder.path(), &format!("{{{}}}", entries.join(",")), 0).unwrap_err();
    assert!(sentence.contains(&format!("more than {} tensors", limits::TENSORS_MAX)), "{sentence}");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let refused = |tensors: &[Entry]| write(&path, tensors, &BTreeMap::new()).unwrap_err().to_string();
    let t = |name: &str, shape: Vec<usize>| (name.to_owned(), Dtype::U8, shape, &[0u8][..]);
    assert!(refused(&[t("a", vec![1]), t("a", vec![1])]).contains("two tensors named 'a'"));
    assert!(refused(&[t(header::METADATA, vec![1])]).contains("cannot be written"));
    assert!(refused(&[t("a", vec![1; 9])]).contains("cannot be written"));
    assert!(!path.exists());
}

fn info(name: &str, dtype: Dtype, shape: &[usize]) -> TensorInfo {
    TensorInfo { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

#[test]
fn pieces_become_the_same_file_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, content) = small(folder.path());
    let file = File::open(&whole).unwrap();
    let path = folder.path().join("b.safetensors");
    let tensors: Vec<TensorInfo> = file.tensors().cloned().collect();
    let mut writer = Writer::create(&path, &tensors, file.metadata()).unwrap();
    for tensor in &tensors {
        file.bytes(&tensor.name)
            .unwrap()
            .chunks(3)
            .for_each(|piece| writer.write(&tensor.name, piece).unwrap());
    }
    writer.finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    let twice = [info("a", Dtype::U8, &[1]), info("a", Dtype::U8, &[1])];
    assert!(Writer::create(&path, &twice, &BTreeMap::new()).unwrap_err().to_string().contains("two tensors"));
    let huge = [info("a", Dtype::F32, &[usize::MAX])];
    assert!(Writer::create(&path, &huge, &BTreeMap::new()).unwrap_err().to_string().contains("too large"));
    drop(Writer::create(&path, &[info("a", Dtype::U8, &[1])], &BTreeMap::new()).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), content, "what is not finished changes nothing");
}

#[test]
#[should_panic(expected = "bytes of 'a' when 'b' comes")]
fn a_tensor_that_comes_too_early_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [info("a", Dtype::U8, &[2]), info("b", Dtype::U8, &[2])];
    let mut writer = Writer::create(&folder.path().join("x"), &tensors, &BTreeMap::new()).unwrap();
    writer.write("a", &[0]).unwrap();
    let _ = writer.write("b", &[0, 0]);
}

#[test]
#[should_panic(expected = "bytes of 'b'")]
fn a_tensor_that_never_comes_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [info("a", Dtype::U8, &[2]), info("b", Dtype::U8, &[2])];
    let mut writer = Writer::create(&folder.path().join("x"), &tensors, &BTreeMap::new()).unwrap();
    writer.write("a", &[0, 0]).unwrap();
    let _ = writer.finish();
}

#[test]
fn floats_are_read_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = small(folder.path());
    let file = File::open(&path).unwrap();
    for name in ["w", "half", "brain", "none"] {
        let whole = file.f32(name).unwrap();
        for start in 0..=whole.len() {
            let mut piece = vec![7.0; whole.len() - start];
            file.f32_into(name, start, &mut piece).unwrap();
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&piece), bits(&whole[start..]), "{name}");
        }
        for (start, elements) in [(whole.len() + 1, 0), (0, whole.len() + 1), (usize::MAX, 1), (1 << 62, 1)] {
            let sentence = file.f32_into(name, start, &mut vec![0.0; elements]).unwrap_err().to_string();
            assert!(sentence.contains("has no elements"), "{sentence}");
        }
    }
    assert!(file.f32_into("codes", 0, &mut [0.0]).unwrap_err().to_string().contains("holds U8"));
}

#[test]
fn damaged_files_end_in_a_header_or_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (_, content) = small(folder.path());
    hostile::run("safetensors", &[content], |bytes| {
        let Ok(header) = header::parse(bytes) else {
            return false;
        };
        for (tensor, range) in header.tensors.iter().zip(&header.ranges) {
            assert_eq!(header::bytes_of(tensor), Some(bytes[range.clone()].len()), "{tensor:?}");
        }
        true
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tensors_go_round(
        tensors in prop::collection::btree_map("[a-z.\"\\\\é]{1,12}", (0usize..4, 0usize..5, any::<u8>()), 0..12)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let dtypes = [Dtype::F64, Dtype::F32, Dtype::BF16, Dtype::U8];
        let owned: Vec<_> = tensors
            .iter()
            .map(|(name, &(kind, n, fill))| (name.clone(), dtypes[kind], vec![n, 3], vec![fill; n * 3 * dtypes[kind].bytes()]))
            .collect();
        let entries: Vec<Entry> = owned.iter().map(|(n, d, s, b)| (n.clone(), *d, s.clone(), &b[..])).collect();
        write(&path, &entries, &BTreeMap::new()).unwrap();
        let file = File::open(&path).unwrap();
        prop_assert_eq!(file.tensors().len(), owned.len());
        for (name, dtype, shape, bytes) in &owned {
            prop_assert_eq!(file.bytes(name).unwrap(), &bytes[..]);
            let info = file.info(name).unwrap();
            prop_assert_eq!((&info.dtype, &info.shape), (dtype, shape));
        }
    }

    #[test]
    fn any_bytes_end_in_a_file_or_a_sentence(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, &content).unwrap();
        let _ = File::open(&path);
    }
}
