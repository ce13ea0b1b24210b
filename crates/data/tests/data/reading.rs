//! Sources: every format and compression gives back the same documents, and bad ones are named.

use crate::common::Place;
use data::source::{Document, SOURCES, SourceOptions, documents};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TEXTS: [&str; 4] = ["One.\n\nTwo \"quoted\"\tand more.", "Süß 東京 🙂", " leading and trailing ", "4"];

fn read(paths: &[PathBuf], options: &SourceOptions) -> Result<Vec<Document>, String> {
    let documents = documents(paths, options).map_err(|e| e.to_string())?;
    documents.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

fn texts(path: PathBuf) -> Result<Vec<String>, String> {
    Ok(read(&[path], &SourceOptions::default())?.into_iter().map(|d| d.text).collect())
}

fn pack(bytes: &[u8], extension: &str) -> Vec<u8> {
    match extension {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(bytes, 1).unwrap(),
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

fn text_file(texts: &[&str]) -> Vec<u8> {
    texts.join("\n<|endoftext|>\n").into_bytes()
}

fn json_file(texts: &[&str], key: &str) -> Vec<u8> {
    let row = |text: &&str| format!("{}\n", serde_json::json!({"id": [1, {"a": 2}], key: text, "n": null}));
    texts.iter().map(row).collect::<String>().into_bytes()
}

fn parquet_file(texts: &[&str], codec: Compression) -> Vec<u8> {
    let schema = "message m { required binary id (UTF8); optional group a { optional binary text (UTF8); } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(codec).build());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    // Two row groups, and a null in each.
    for texts in texts.chunks(texts.len().div_ceil(2)) {
        let mut group = file.next_row_group().unwrap();
        let mut write = |values: Vec<ByteArray>, levels: Option<&[i16]>| {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, levels, None).unwrap();
            column.close().unwrap();
        };
        write(vec![ByteArray::from("x"); texts.len() + 1], None);
        let levels = [vec![1], vec![2; texts.len()]].concat();
        write(texts.iter().map(|&t| ByteArray::from(t)).collect(), Some(&levels));
        group.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

#[test]
fn every_format_and_compression_gives_the_same_documents() {
    let place = Place::new();
    let options = SourceOptions { column: "a.text".into(), ..SourceOptions::default() };
    for kind in SOURCES {
        for extension in kind.extensions() {
            let bytes = match kind.name() {
                "text" => text_file(&TEXTS),
                "jsonl" => json_file(&TEXTS, "a.text"),
                "parquet" => parquet_file(&TEXTS, Compression::SNAPPY),
                other => panic!("the format '{other}' has no case here"),
            };
            let packings: &[&str] = if kind.is_stream() { &["", ".gz", ".zst", ".xz"] } else { &[""] };
            for packing in packings {
                let name = format!("sub/a.{extension}{packing}");
                let path = place.file(&name, pack(&bytes, packing.trim_start_matches('.')));
                let found = read(&[path], &options).unwrap();
                assert_eq!(found.iter().map(|d| d.text.as_str()).collect::<Vec<_>>(), TEXTS, "{name}");
            }
        }
    }
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::ZSTD(Default::default()),
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ];
    for codec in codecs {
        let file = place.file("z.parquet", parquet_file(&TEXTS, codec));
        let found = read(&[file], &options).unwrap();
        assert_eq!(found.iter().map(|d| d.text.as_str()).collect::<Vec<_>>(), TEXTS, "{codec}");
    }
}

/// The crate has no LZO: a file of SNAPPY says that it is of LZO.
#[test]
fn a_parquet_file_of_a_codec_that_is_missing_is_not_called_damaged() {
    let place = Place::new();
    let options = SourceOptions { column: "a.text".into(), ..SourceOptions::default() };
    let bytes = parquet_file(&TEXTS, Compression::SNAPPY);
    // Field 4 of a column's metadata, an i32, after a list of one path: 1 is SNAPPY, 3 is LZO, both as zigzag.
    let (snappy, lzo) = (b"\x04text\x15\x02", b"\x04text\x15\x06");
    let mut other = Vec::new();
    let mut rest = &bytes[..];
    while let Some(at) = rest.windows(snappy.len()).position(|w| w == snappy) {
        other.extend_from_slice(&rest[..at]);
        other.extend_from_slice(lzo);
        rest = &rest[at + snappy.len()..];
    }
    other.extend_from_slice(rest);
    assert_ne!(bytes, other);
    let error = read(&[place.file("lzo.parquet", other)], &options).unwrap_err();
    assert!(error.contains("LZO") && error.contains("zstd") && !error.contains("sound"), "{error}");
}

#[test]
fn a_row_that_is_no_text_says_why() {
    let place = Place::new();
    let options = SourceOptions { column: "a.text".into(), ..SourceOptions::default() };
    let path = place.file("a.parquet", parquet_file(&["good", "ze\0ro"], Compression::SNAPPY));
    let error = read(&[path], &options).unwrap_err();
    assert!(error.contains("row 1") && error.contains("a zero byte at byte 2"), "{error}");
}

/// A link to the folder that it is in, twice, and a link out of it.
#[test]
fn recursive_globs_do_not_follow_links_to_folders() {
    let place = Place::new();
    for name in ["fold/b.txt", "fold/a/z.txt", "fold/a/deep/y.txt", "fold/a/c.md", "other/x.txt"] {
        place.file(name, name);
    }
    for (to, link) in [("fold", "fold/loop"), ("fold", "fold/a/again"), ("other", "fold/out"), ("fold", "to")]
    {
        std::os::unix::fs::symlink(place.at(to), place.at(link)).unwrap();
    }
    std::os::unix::fs::symlink(place.at("other/x.txt"), place.at("fold/x.txt")).unwrap();
    let cases: [(&str, &[&str]); 6] = [
        ("fold/**/*.txt", &["fold/a/deep/y.txt", "fold/a/z.txt", "fold/b.txt", "other/x.txt"]),
        ("to/**/*.txt", &["fold/a/deep/y.txt", "fold/a/z.txt", "fold/b.txt", "other/x.txt"]),
        ("fold/**", &["fold/a/c.md", "fold/a/deep/y.txt", "fold/a/z.txt", "fold/b.txt", "other/x.txt"]),
        ("fold/**/deep", &["fold/a/deep/y.txt"]),
        ("f*/a/**/*.md", &["fold/a/c.md"]),
        ("f*/out/*", &["other/x.txt"]),
    ];
    for (pattern, expected) in cases {
        assert_eq!(texts(place.at(pattern)).unwrap(), expected, "{pattern}");
    }
    assert!(texts(place.at("fold/**/*.gz")).unwrap_err().contains("no file matches"));
    assert!(texts(place.at("fold/**/a**")).unwrap_err().contains("no glob pattern"));
}

#[test]
fn text_files_part_at_separator_lines() {
    let place = Place::new();
    let case = |bytes: &[u8]| texts(place.file("a.txt", bytes));
    assert_eq!(case(b"one file\n\none document\n").unwrap(), ["one file\n\none document"]);
    assert_eq!(case(b"a\r\n<|endoftext|>\r\nb\r\n").unwrap(), ["a", "b"]);
    assert_eq!(case(b"<|endoftext|>\n\n<|endoftext|>\na\n<|endoftext|>\n").unwrap(), ["a"]);
    assert_eq!(case(b"a <|endoftext|>\n<|endoftext|> b").unwrap(), ["a <|endoftext|>\n<|endoftext|> b"]);
    assert_eq!(case(b"\xef\xbb\xbfmarked").unwrap(), ["marked"]);
    let path = place.file("b.txt", "a\n---\nb\n<|endoftext|>\nc");
    let options = SourceOptions { separator: "---".into(), ..SourceOptions::default() };
    assert_eq!(read(std::slice::from_ref(&path), &options).unwrap()[1].text, "b\n<|endoftext|>\nc");
    let whole = SourceOptions { separator: String::new(), ..SourceOptions::default() };
    assert_eq!(read(&[path], &whole).unwrap().len(), 1);
}

#[test]
fn folders_and_globs_are_read_in_order_and_name_their_source() {
    let place = Place::new();
    for name in
        ["d/b.txt", "d/a/z.md", "d/a.jsonl", "d/.hidden.txt", "d/picture.png", "e1.txt", "e2.txt", "e3.png"]
    {
        place.file(name, format!("{{\"text\": \"{name}\"}}"));
    }
    std::os::unix::fs::symlink(place.at("d"), place.at("d/a/circle")).unwrap();
    let found =
        read(&[place.at("d"), place.at("e*"), place.at("e1.txt")], &SourceOptions::default()).unwrap();
    let sources: Vec<_> = found.iter().map(|d| d.source).collect();
    assert_eq!(sources, [0, 0, 0, 1, 1, 2]);
    let order = ["d/a/z.md", "d/a.jsonl", "d/b.txt", "e1.txt", "e2.txt", "e1.txt"];
    assert!(found.iter().zip(order).all(|(d, name)| d.text.contains(name)), "{found:?}");
}

#[test]
fn bad_inputs_are_named_with_place_and_remedy() {
    let place = Place::new();
    let case = |name: &str, bytes: &[u8], words: &[&str]| {
        let error = texts(place.file(name, bytes)).unwrap_err();
        assert!(error.contains(name) && words.iter().all(|word| error.contains(word)), "{name}: {error}");
    };
    case("empty.txt", b"", &["empty (0 bytes)", "leave it out"]);
    case("blank.txt", b"\n \n<|endoftext|>\n", &["holds no text"]);
    case("empty.jsonl.gz", &pack(b"", "gz"), &["holds no text"]);
    case("empty.parquet", b"", &["empty (0 bytes)"]);
    case("binary.txt", b"abc\n\0def", &["binary", "byte 4", "--lossy"]);
    case("latin.md", b"one\n<|endoftext|>\ncaf\xe9 au lait", &["0xe9 at byte 21", "--lossy"]);
    case("wide.txt", b"\xff\xfea\0b\0", &["UTF-16", "iconv"]);
    case(
        "a.jsonl",
        b"{\"text\": \"a\"}\n{\"body\": \"b\", \"id\": 1}\n",
        &["line 2 (byte 14)", "'text', only body, id", "--column"],
    );
    case("b.jsonl", b"{\"text\": 5}\n", &["line 1", "--column"]);
    case("c.jsonl", b"[1]\n", &["line 1 (byte 0)", "JSON object"]);
    case("d.jsonl", b"{\"text\": \"a\"} trailing", &["line 1"]);
    case("e.jsonl", &[b"{\"text\": ".as_slice(), &[b'['; 100_000]].concat(), &["line 1"]);
    case("a.parquet", b"PAR1 not really PAR1", &["no sound parquet file"]);
    case("b.parquet", &parquet_file(&TEXTS, Compression::SNAPPY), &["no column 'text', only id, a.text"]);
    case("a.zst", b"x", &["kind is not known", ".parquet"]);
    case("a.docx", b"x", &["kind is not known", ".jsonl"]);
    case("a.txt.gz", b"this is not what gzip writes", &["damaged"]);
    for extension in ["gz", "zst", "xz"] {
        let whole = pack(text_file(&TEXTS).repeat(50).as_slice(), extension);
        case(&format!("cut.txt.{extension}"), &whole[..whole.len() - 9], &["cut short", "again"]);
    }
    let missing = |path: &str| read(&[place.at(path)], &SourceOptions::default()).unwrap_err();
    assert!(missing("none.txt").contains("does not exist"));
    assert!(missing("none*.txt").contains("no file matches"));
    place.file("pictures/a.png", "x");
    assert!(missing("pictures").contains("no file that can be read"));
    assert!(read(&[], &SourceOptions::default()).unwrap_err().contains("no input"));
    assert!(read(&[PathBuf::from("/dev/null")], &SourceOptions::default()).is_err());
}

#[test]
fn lossy_reads_what_is_refused_otherwise() {
    let place = Place::new();
    let path = place.file("a.txt", b"caf\xe9 \0");
    let options = SourceOptions { lossy: true, ..SourceOptions::default() };
    assert_eq!(read(&[path], &options).unwrap()[0].text, "caf\u{fffd} \u{fffd}");
    let path = place.file("a.jsonl", r#"{"text": "one \ud83d, one \ud83d\ude42", "id": "\ude42"}"#);
    let error = texts(path.clone()).unwrap_err();
    assert!(error.contains("half a character") && error.contains("--lossy"), "{error}");
    assert_eq!(read(&[path], &options).unwrap()[0].text, "one \u{fffd}, one 🙂");
    let path = place.file("b.jsonl", r#"{"body": "\ud83d"}"#);
    assert!(read(&[path], &options).unwrap_err().contains("no column 'text'"));
}

#[test]
fn a_decompression_bomb_is_stopped_at_the_document_limit() {
    let place = Place::new();
    let options = SourceOptions { document_bytes_max: 1000, ..SourceOptions::default() };
    for extension in ["gz", "zst", "xz"] {
        let bomb = place.file(&format!("bomb.txt.{extension}"), pack(&vec![b'a'; 10 << 20], extension));
        let error = read(&[bomb], &options).unwrap_err();
        assert!(error.contains("longer than 1000 bytes") && error.contains("begins at byte 0"), "{error}");
    }
    let fits = place.file("fits.txt", "a".repeat(1000));
    assert_eq!(read(&[fits], &options).unwrap()[0].text.len(), 1000);
    let long =
        place.file("long.jsonl", format!("{{\"text\": \"b\"}}\n{{\"text\": \"{}\"}}", "a".repeat(1000)));
    assert!(read(&[long], &options).unwrap_err().contains("line that begins at byte 14"));
    let wide = place.file("wide.parquet", parquet_file(&["ok", &"a".repeat(1001)], Compression::SNAPPY));
    let options = SourceOptions { column: "a.text".into(), ..options };
    assert!(read(&[wide], &options).unwrap_err().contains("row 1 is longer"));
}

#[test]
fn a_file_that_vanishes_before_its_turn_is_an_error_and_the_end() {
    let place = Place::new();
    let paths = [place.file("a.txt", "a"), place.file("b.txt", "b"), place.file("c.txt", "c")];
    let mut found = documents(&paths, &SourceOptions::default()).unwrap();
    assert_eq!(found.next().unwrap().unwrap().text, "a");
    std::fs::remove_file(&paths[1]).unwrap();
    let error = found.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("b.txt") && error.contains("does not exist"), "{error}");
    assert!(found.next().is_none());
}

/// Reads a file that may be anything: documents or a sentence, never a panic.
fn survives(path: &Path) {
    let options = SourceOptions { column: "a.text".into(), ..SourceOptions::default() };
    if let Err(error) = read(&[path.to_owned()], &options) {
        assert!(error.contains("hostile"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn text_files_give_back_their_documents(texts in prop::collection::vec("[a-z<|\n\r é]{0,40}", 1..6)) {
        let place = Place::new();
        let kept: Vec<_> = texts.iter().filter(|t| !t.trim().is_empty()).collect();
        let found = texts_of(place.file("a.txt", texts.join("\n<|endoftext|>\n")));
        // A document's own final line break belongs to the separator.
        let same = |(a, b): (&String, &&String)| a.trim() == b.trim();
        prop_assert!(found.len() == kept.len() && found.iter().zip(&kept).all(same), "{found:?} {kept:?}");
    }

    #[test]
    fn json_files_give_back_their_documents(texts in prop::collection::vec("\\PC{1,40}", 1..6)) {
        let place = Place::new();
        let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
        let kept: Vec<_> = texts.iter().filter(|t| !t.trim().is_empty()).cloned().collect();
        prop_assert_eq!(texts_of(place.file("a.jsonl", json_file(&borrowed, "text"))), kept);
    }

    #[test]
    fn hostile_streams_end_in_a_sentence(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        name in prop::sample::select(vec!["txt", "jsonl", "parquet", "txt.gz", "txt.zst", "jsonl.xz"]),
    ) {
        let place = Place::new();
        survives(&place.file(&format!("hostile.{name}"), bytes));
    }

    #[test]
    fn damaged_parquet_files_end_in_a_sentence(at: prop::sample::Index, byte: u8, cut: bool) {
        let place = Place::new();
        let mut bytes = parquet_file(&TEXTS, Compression::SNAPPY);
        let at = at.index(bytes.len());
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] = byte,
        }
        survives(&place.file("hostile.parquet", bytes));
    }
}

fn texts_of(path: PathBuf) -> Vec<String> {
    texts(path).unwrap_or_default()
}
