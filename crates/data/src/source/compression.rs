//! Compressed streams, told by the file name's last extension.

use crate::DataError;
use formats::FileError;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 18;
/// Memory that an `.xz` file may ask for; `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Largest window of a `.zst` file, as a power of two; `zstd -19 --long` uses 27.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How the bytes of a file are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
}

impl Compression {
    /// From the last extension of a file name, lower case.
    pub(super) fn of(extension: &str) -> Self {
        match extension {
            "gz" => Self::Gzip,
            "zst" => Self::Zstd,
            "xz" => Self::Xz,
            _ => Self::None,
        }
    }

    /// The decompressed bytes of `path` as a stream. Concatenated parts are read through.
    pub(super) fn open(self, path: &Path) -> Result<Box<dyn BufRead + Send>, DataError> {
        let file = BufReader::with_capacity(BUFFER_BYTES, formats::bounded::open(path)?);
        let stream = || -> io::Result<Box<dyn BufRead + Send>> {
            Ok(match self {
                Self::None => Box::new(file),
                Self::Gzip => buffered(flate2::bufread::MultiGzDecoder::new(file)),
                Self::Zstd => {
                    let mut decoder = zstd::Decoder::with_buffer(file)?;
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    buffered(decoder)
                }
                Self::Xz => {
                    let flags = liblzma::stream::CONCATENATED;
                    let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, flags)?;
                    buffered(liblzma::bufread::XzDecoder::new_stream(file, stream))
                }
            })
        };
        stream().map_err(|e| FileError::io(path, "decompress", &e).into())
    }

    /// The sentence for a stream that broke off with `error` after `offset` good bytes.
    pub(super) fn broken(self, path: &Path, offset: u64, error: &io::Error) -> DataError {
        if self == Self::None {
            return FileError::io(path, "read", error).into();
        }
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the compressed file is cut short".to_owned(),
            _ => format!("the compressed file is damaged or asks for too much memory ({error})"),
        };
        let remedy = "fetch or compress it again";
        FileError::damaged(path, format!("{what} after {offset} decompressed bytes"), remedy).into()
    }
}

fn buffered(stream: impl io::Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, stream))
}
