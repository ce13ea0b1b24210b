//! The header: parsed under limits, every claim checked against the length of the file.

use super::{ALIGNMENT, ARCHITECTURE, Array, FILE_TYPE, TensorInfo, Value};
use crate::limits;
use crate::quant::{I2sLayout, resolve};
use std::collections::HashSet;
use std::ops::Range;

pub(super) const MAGIC: [u8; 4] = *b"GGUF";
pub(super) const DEFAULT_ALIGNMENT: usize = 32;

/// A header that agrees with the length of its file.
#[derive(Debug)]
pub(super) struct Header {
    pub version: u32,
    pub alignment: usize,
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<TensorInfo>,
    /// Of each tensor, counted from the start of the file; empty for one whose format is not known.
    pub ranges: Vec<Range<usize>>,
}

/// Parses and checks the header at the start of `file`, of which all `file_bytes` or only the header may be here.
/// The error says what is wrong, without the file's name.
pub(super) fn parse(file: &[u8], file_bytes: usize, layout: I2sLayout) -> Result<Header, String> {
    let bytes = &file[..file.len().min(limits::GGUF_HEADER_BYTES_MAX)];
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.array::<4>("magic").ok() != Some(MAGIC) {
        return Err("it does not begin with 'GGUF', so it is no GGUF file".into());
    }
    let version = cursor.u32("version")?;
    if version & 0xffff == 0 {
        return Err(format!("its version {version:#x} is that of a big-endian file, which is not supported"));
    }
    if !(2..=3).contains(&version) {
        return Err(format!("it has GGUF version {version}, and 2 and 3 are supported"));
    }
    let tensors = cursor.count("number of tensors", limits::TENSORS_MAX)?;
    let entries = cursor.count("number of metadata entries", limits::METADATA_ENTRIES_MAX)?;
    let metadata = cursor.metadata(entries)?;
    let alignment = alignment(&metadata)?;
    let (architecture, file_type) = (architecture(&metadata), file_type(&metadata));
    let mut placed = Vec::new();
    for number in 0..tensors {
        let (mut tensor, offset) = cursor.tensor(number)?;
        let format = resolve(architecture, file_type, tensor.ggml_type, layout);
        tensor.format = format.and_then(|format| {
            format.check_row(tensor.shape.last().copied().unwrap_or(1))?;
            Ok(format)
        });
        placed.push((tensor, offset));
    }
    let mut names = HashSet::new();
    if let Some((twice, _)) = placed.iter().find(|(tensor, _)| !names.insert(&tensor.name)) {
        return Err(format!("there are two tensors named '{}'", twice.name));
    }
    let data_start = cursor.at.next_multiple_of(alignment);
    let ranges = place(&placed, alignment, data_start, file_bytes)?;
    let tensors = placed.into_iter().map(|(tensor, _)| tensor).collect();
    Ok(Header { version, alignment, metadata, tensors, ranges })
}

/// The places of the tensors in the file, checked: aligned, inside, apart from each other.
fn place(
    tensors: &[(TensorInfo, u64)],
    alignment: usize,
    data_start: usize,
    file_bytes: usize,
) -> Result<Vec<Range<usize>>, String> {
    let mut ranges = Vec::with_capacity(tensors.len());
    for (tensor, offset) in tensors {
        let name = &tensor.name;
        if !offset.is_multiple_of(alignment as u64) {
            return Err(format!(
                "tensor '{name}' lies at byte {offset}, no multiple of the alignment {alignment}"
            ));
        }
        let nonzero = tensor.shape.iter().map(|&dimension| dimension.max(1));
        let fits = nonzero.clone().try_fold(1usize, |n, dimension| n.checked_mul(dimension)).is_some();
        let bytes = match &tensor.format {
            Ok(format) if fits => format.bytes_for(tensor.elements()),
            // Of unknown length, but not nothing: two of them cannot be at one place.
            Err(_) if fits => Some(usize::from(tensor.elements() > 0)),
            _ => None,
        };
        let Some(bytes) = bytes else {
            return Err(format!(
                "tensor '{name}' claims shape {:?}, more than any file can hold",
                tensor.shape
            ));
        };
        let start = usize::try_from(*offset).ok().and_then(|offset| data_start.checked_add(offset));
        let end = start.and_then(|start| start.checked_add(bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_bytes || bytes == 0 => ranges.push(start..end),
            _ => {
                return Err(format!(
                    "it is cut: tensor '{name}' of {bytes} bytes begins at byte {offset} of the data, and the file has \
                     {file_bytes} bytes, the header {data_start}"
                ));
            }
        }
    }
    let mut order: Vec<usize> = (0..ranges.len()).filter(|&i| ranges[i].start < ranges[i].end).collect();
    order.sort_by_key(|&i| ranges[i].start);
    for pair in order.windows(2) {
        if ranges[pair[1]].start < ranges[pair[0]].end {
            let [first, second] = [pair[0], pair[1]].map(|i| &tensors[i].0.name);
            return Err(format!("tensors '{first}' and '{second}' overlap"));
        }
    }
    for (range, (tensor, _)) in ranges.iter_mut().zip(tensors) {
        if range.start == range.end || tensor.format.is_err() {
            *range = 0..0;
        }
    }
    Ok(ranges)
}

fn find<'a>(metadata: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

/// `general.architecture`, or nothing.
pub(super) fn architecture(metadata: &[(String, Value)]) -> &str {
    match find(metadata, ARCHITECTURE) {
        Some(Value::String(name)) => name,
        _ => "",
    }
}

/// `general.file_type`, if it is there.
pub(super) fn file_type(metadata: &[(String, Value)]) -> Option<u32> {
    find(metadata, FILE_TYPE)?.as_u64()?.try_into().ok()
}

/// The tensors' alignment: 32, or what the metadata says.
pub(super) fn alignment(metadata: &[(String, Value)]) -> Result<usize, String> {
    match find(metadata, ALIGNMENT) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::U32(n)) if n.is_power_of_two() && n <= limits::GGUF_ALIGNMENT_MAX => Ok(n as usize),
        Some(other) => {
            Err(format!("{ALIGNMENT} is {other:?}, which is no power of two of type u32 up to 2^20"))
        }
    }
}

/// The bytes of the header and how far they are read.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, bytes: usize, what: &str) -> Result<&'a [u8], String> {
        match self.bytes[self.at..].split_at_checked(bytes) {
            Some((taken, _)) => {
                self.at += bytes;
                Ok(taken)
            }
            None => Err(self.cut(what)),
        }
    }

    fn cut(&self, what: &str) -> String {
        format!("it is cut inside its header, at the {what} from byte {} on", self.at)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let bytes = self.take(N, what)?;
        Ok(bytes.try_into().expect("take gives as many as asked"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things of which `most` are allowed.
    fn count(&mut self, what: &str, most: usize) -> Result<usize, String> {
        let count = self.u64(what)?;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(format!("its {what} is {count}, and {most} are allowed")),
        }
    }

    /// A text of at most `most` bytes.
    fn text(&mut self, what: &str, most: usize) -> Result<String, String> {
        let length = self.count(&format!("length of the {what}"), most)?;
        let at = self.at;
        let bytes = self.take(length, what)?;
        let text = std::str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|_| format!("the {what} at byte {at} is not UTF-8 text"))
    }

    fn metadata(&mut self, entries: usize) -> Result<Vec<(String, Value)>, String> {
        let mut metadata = Vec::new();
        let mut keys = HashSet::new();
        for _ in 0..entries {
            let key = self.text("key", limits::GGUF_KEY_BYTES_MAX)?;
            if !keys.insert(key.clone()) {
                return Err(format!("key '{key}' is there twice"));
            }
            let number = self.u32("type of a value")?;
            let value = self.value(number).map_err(|what| format!("at key '{key}': {what}"))?;
            metadata.push((key, value));
        }
        Ok(metadata)
    }

    fn value(&mut self, number: u32) -> Result<Value, String> {
        const WHAT: &str = "value";
        Ok(match number {
            0 => Value::U8(u8::from_le_bytes(self.array(WHAT)?)),
            1 => Value::I8(i8::from_le_bytes(self.array(WHAT)?)),
            2 => Value::U16(u16::from_le_bytes(self.array(WHAT)?)),
            3 => Value::I16(i16::from_le_bytes(self.array(WHAT)?)),
            4 => Value::U32(u32::from_le_bytes(self.array(WHAT)?)),
            5 => Value::I32(i32::from_le_bytes(self.array(WHAT)?)),
            6 => Value::F32(f32::from_le_bytes(self.array(WHAT)?)),
            7 => Value::Bool(truth(self.take(1, WHAT)?[0])?),
            8 => Value::String(self.text("text", self.bytes.len())?),
            9 => Value::Array(self.elements(1)?),
            10 => Value::U64(u64::from_le_bytes(self.array(WHAT)?)),
            11 => Value::I64(i64::from_le_bytes(self.array(WHAT)?)),
            12 => Value::F64(f64::from_le_bytes(self.array(WHAT)?)),
            other => return Err(format!("the value type {other} does not exist")),
        })
    }

    /// An array, `depth` levels below the metadata.
    fn elements(&mut self, depth: usize) -> Result<Array, String> {
        if depth > limits::GGUF_ARRAY_DEPTH_MAX {
            return Err(format!("arrays are nested deeper than {}", limits::GGUF_ARRAY_DEPTH_MAX));
        }
        let number = self.u32("type of an array")?;
        let claimed = self.u64("length of an array")?;
        let least = element_bytes_min(number).ok_or(format!("the value type {number} does not exist"))?;
        let count = match usize::try_from(claimed) {
            Ok(count) if count <= self.remaining() / least => count,
            _ => return Err(format!("an array claims {claimed} elements, more than the file holds")),
        };
        Ok(match number {
            0 => Array::U8(self.take(count, "array")?.to_vec()),
            1 => Array::I8(self.numbers(count, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(count, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(count, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(count, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(count, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(count, f32::from_le_bytes)?),
            7 => Array::Bool(
                self.take(count, "array")?.iter().map(|&byte| truth(byte)).collect::<Result<_, _>>()?,
            ),
            8 => Array::String(
                (0..count).map(|_| self.text("text", self.bytes.len())).collect::<Result<_, _>>()?,
            ),
            9 => Array::Array((0..count).map(|_| self.elements(depth + 1)).collect::<Result<_, _>>()?),
            10 => Array::U64(self.numbers(count, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(count, i64::from_le_bytes)?),
            _ => Array::F64(self.numbers(count, f64::from_le_bytes)?),
        })
    }

    fn numbers<T, const N: usize>(&mut self, count: usize, from: fn([u8; N]) -> T) -> Result<Vec<T>, String> {
        let bytes = self.take(count * N, "array")?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|&bytes| from(bytes)).collect())
    }

    /// An entry of the table, its format not yet resolved, and its offset in the data.
    fn tensor(&mut self, number: usize) -> Result<(TensorInfo, u64), String> {
        let name = self.text(&format!("name of tensor {number}"), limits::TENSOR_NAME_BYTES_MAX)?;
        let rank = self.u32("rank of a tensor")? as usize;
        if rank > limits::RANK_MAX {
            return Err(format!(
                "tensor '{name}' claims {rank} dimensions, and {} are allowed",
                limits::RANK_MAX
            ));
        }
        let mut shape = vec![0; rank];
        for dimension in shape.iter_mut().rev() {
            let claimed = self.u64("shape of a tensor")?;
            *dimension = usize::try_from(claimed).map_err(|_| self.cut("shape of a tensor"))?;
        }
        let ggml_type = self.u32("type of a tensor")?;
        let offset = self.u64("place of a tensor")?;
        Ok((TensorInfo { name, shape, ggml_type, format: Err(String::new()) }, offset))
    }
}

fn truth(byte: u8) -> Result<bool, String> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("{other} is neither true nor false")),
    }
}

/// The fewest bytes an array element of that type takes; `None` for a type that does not exist.
fn element_bytes_min(number: u32) -> Option<usize> {
    match number {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        8 | 10..=12 => Some(8),
        9 => Some(12),
        _ => None,
    }
}
