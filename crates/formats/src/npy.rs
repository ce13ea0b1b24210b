//! NumPy's `.npy`, version 1.0, for arrays that other programs look at. Format: numpy.lib.format.

use crate::error::FileError;
use crate::{atomic, bounded};
use std::path::Path;

/// Longest file that is read, bytes.
const BYTES_MAX: u64 = 1 << 32;
/// Most dimensions of an array that is read.
const RANK_MAX: usize = 8;

/// Shape and values (row-major) of an array of little-endian f4, f8 or f2.
///
/// # Errors
/// It is longer than 4 GiB, another version, another type, in Fortran's order, or not as long as its shape says.
pub fn read_f32(path: &Path) -> Result<(Vec<usize>, Vec<f32>), FileError> {
    let bytes = bounded::read(path, BYTES_MAX)?;
    parse(&bytes)
        .map_err(|what| FileError::damaged(path, what, "save it with numpy.save, as float32, in C order"))
}

fn parse(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), String> {
    let wide = match bytes.get(..8) {
        Some(b"\x93NUMPY\x01\x00") => false,
        Some(b"\x93NUMPY\x02\x00" | b"\x93NUMPY\x03\x00") => true,
        _ => return Err("it does not begin as a NumPy array does".into()),
    };
    let cut = || "its header is cut".to_owned();
    let length = |width: usize| bytes.get(8..8 + width).ok_or_else(cut);
    let (start, length): (usize, usize) = match wide {
        false => (10, length(2)?.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte))),
        true => (12, length(4)?.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte))),
    };
    let header = start.checked_add(length).and_then(|end| bytes.get(start..end)).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text".to_owned())?;
    if header.contains("'fortran_order': True") {
        return Err("it is in Fortran's order".into());
    }
    let shape = header
        .split("'shape': (")
        .nth(1)
        .and_then(|rest| rest.split(')').next())
        .ok_or("its header has no shape")?;
    let dimension = |text: &str| text.trim().parse::<usize>().map_err(|_| format!("its shape is ({shape})"));
    let shape = shape
        .split(',')
        .filter(|text| !text.trim().is_empty())
        .map(dimension)
        .collect::<Result<Vec<_>, _>>()?;
    let elements =
        shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|_| shape.len() <= RANK_MAX);
    let data = &bytes[start + length..];
    let is = |kind: &str| header.contains(&format!("'descr': '{kind}'"));
    let values: Vec<f32> = match () {
        () if is("<f4") => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        () if is("<f8") => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        () if is("<f2") => {
            data.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
        }
        () => return Err("its numbers are not little-endian floats".into()),
    };
    match elements == Some(values.len()) {
        true => Ok((shape, values)),
        false => Err(format!("it has {} numbers, and its shape is {shape:?}", values.len())),
    }
}

/// Writes `data` (row-major, little-endian f32) of `shape` as a `.npy` file, atomically.
///
/// # Panics
/// When the product of `shape` is not the length of `data`.
pub fn write_f32(path: &Path, shape: &[usize], data: &[f32]) -> Result<(), FileError> {
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    assert_eq!(elements, Some(data.len()), "shape {shape:?} against {} values", data.len());
    atomic::write(path, |out| {
        out.write_all(&header(shape))?;
        out.write_all(bytemuck::cast_slice(data))
    })
}

/// Magic, version, header length and the description, padded with spaces so that the data starts at a multiple of 64.
fn header(shape: &[usize]) -> Vec<u8> {
    const PREFIX_BYTES: usize = 10;
    let dimensions: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dimensions = match shape.len() {
        1 => dimensions.trim_end(),
        _ => dimensions.trim_end_matches(", "),
    };
    let description = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dimensions}), }}");
    let length = (PREFIX_BYTES + description.len() + 1).next_multiple_of(64) - PREFIX_BYTES;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(format!("{description:<width$}\n", width = length - 1).bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_numpys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_f32(&path, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 128 + 24);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&bytes[10..128]).unwrap();
        let description = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(text.trim_end(), description);
        assert!(text.ends_with(" \n"));
        assert_eq!(&bytes[128..132], 1.0f32.to_le_bytes());
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_f32(&path, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]).unwrap();
        assert_eq!(read_f32(&path).unwrap(), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.5]));
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let text = String::from_utf8_lossy(&whole[..128]).into_owned();
        assert!(parse(&text.replace("<f4", "<i4").replace('\u{fffd}', "?").into_bytes()).is_err());
        let mut twice = whole.clone();
        twice.extend(&whole[128..]);
        assert!(parse(&twice).unwrap_err().contains("12 numbers"));
    }

    #[test]
    fn vectors_scalars_and_emptiness_have_their_tuples() {
        let text = |shape: &[usize]| String::from_utf8_lossy(&header(shape)).into_owned();
        assert!(text(&[7]).contains("'shape': (7,), "));
        assert!(text(&[]).contains("'shape': (), "));
        assert!(text(&[0, 4]).contains("'shape': (0, 4), "));
        assert!(header(&[usize::MAX; 8]).len().is_multiple_of(64));
    }
}
