//! Files that people write, read whole and never without a bound.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A file's bytes, at most `limit` of them.
///
/// # Errors
/// It cannot be read; it is larger ([`io::ErrorKind::FileTooLarge`]).
pub(crate) fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {}", size(limit))));
    }
    Ok(bytes)
}

/// As [`bytes`], of text.
///
/// # Errors
/// As [`bytes`], and what is not UTF-8.
pub(crate) fn text(path: &Path, limit: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(bytes(path, limit)?).map_err(not_text)
}

fn size(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        30.. => format!("{} GiB", bytes >> 30),
        20.. => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "größe").unwrap();
        assert_eq!(text(&path, 7).unwrap(), "größe");
        let error = text(&path, 6).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::FileTooLarge, "it is larger than 6 bytes"));
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(text(&path, 6).unwrap_err().to_string(), "it is not UTF-8");
        assert_eq!([size(1 << 30), size(8 << 20), size(3)], ["1 GiB", "8 MiB", "3 bytes"]);
    }
}
