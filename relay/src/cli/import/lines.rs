//! Files as blocks of whole lines: plain or gzip by their first bytes, `-` for standard input.
//!
//! Knows nothing of what a line says. Memory is bounded by the block and line bounds.

use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A block is handed on when it has this many bytes: large enough that handing on costs nothing,
/// small enough that a few in flight are no memory.
const BLOCK_BYTES: usize = 256 * 1024;

/// Longest line, in bytes: twice over what the largest message takes with all of it escaped.
pub(super) const LINE_BYTES_MAX: usize = 4 << 20;

/// A run of lines of one file, or one that is too long to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole lines with their ends; the last line of a file may lack its end.
    Lines {
        /// Number of the first line, from 1.
        first_line: u64,
        /// The lines.
        bytes: Vec<u8>,
    },
    /// A line over the bound, skipped.
    TooLong {
        /// Its number, from 1.
        line: u64,
    },
}

/// The pieces of one file, in order.
pub(super) struct Pieces {
    reader: Box<dyn BufRead + Send>,
    next_line: u64,
    /// The number of a line that was too long, to be said after the block before it.
    too_long: Option<u64>,
    /// A file that failed once is not read on.
    failed: bool,
}

impl Pieces {
    /// Opens a file (or `-`); `bytes_read` counts what is read of it, compressed or not.
    pub(super) fn open(path: &Path, bytes_read: Arc<AtomicU64>) -> io::Result<Self> {
        let raw: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path)?)
        };
        Self::of(Counted { raw, bytes_read })
    }

    fn of(mut raw: impl Read + Send + 'static) -> io::Result<Self> {
        let mut head = Vec::new();
        raw.by_ref().take(3).read_to_end(&mut head)?;
        let gzip = head.starts_with(&[0x1f, 0x8b]);
        if head == [0xef, 0xbb, 0xbf] {
            // A byte order mark says nothing in UTF-8.
            head.clear();
        }
        let raw = Cursor::new(head).chain(raw);
        let reader: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(BLOCK_BYTES, MultiGzDecoder::new(raw)))
        } else {
            Box::new(BufReader::with_capacity(BLOCK_BYTES, raw))
        };
        Ok(Self { reader, next_line: 1, too_long: None, failed: false })
    }

    /// Reads the next line onto `block`; whether there was one, and whether it was kept.
    fn read_line(&mut self, block: &mut Vec<u8>) -> io::Result<Line> {
        let before = block.len();
        let mut bounded = self.reader.by_ref().take(LINE_BYTES_MAX as u64);
        if bounded.read_until(b'\n', block)? == 0 {
            return Ok(Line::None);
        }
        if block.len() - before < LINE_BYTES_MAX || block.last() == Some(&b'\n') {
            return Ok(Line::Kept);
        }
        block.truncate(before);
        self.reader.skip_until(b'\n')?;
        Ok(Line::TooLong)
    }

    fn read_piece(&mut self) -> io::Result<Option<Piece>> {
        if let Some(line) = self.too_long.take() {
            return Ok(Some(Piece::TooLong { line }));
        }
        let first_line = self.next_line;
        let mut bytes = Vec::with_capacity(BLOCK_BYTES + 4096);
        while bytes.len() < BLOCK_BYTES {
            match self.read_line(&mut bytes)? {
                Line::None => break,
                Line::Kept => self.next_line += 1,
                Line::TooLong => {
                    self.too_long = Some(self.next_line);
                    self.next_line += 1;
                    break;
                }
            }
        }
        if bytes.is_empty() {
            return Ok(self.too_long.take().map(|line| Piece::TooLong { line }));
        }
        Ok(Some(Piece::Lines { first_line, bytes }))
    }
}

enum Line {
    None,
    Kept,
    TooLong,
}

impl Iterator for Pieces {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let piece = self.read_piece();
        self.failed = piece.is_err();
        piece.transpose()
    }
}

struct Counted<R> {
    raw: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn pieces(bytes: &[u8]) -> Vec<Piece> {
        Pieces::of(Cursor::new(bytes.to_vec())).unwrap().map(Result::unwrap).collect()
    }

    fn lines(bytes: &[u8]) -> Vec<u8> {
        match pieces(bytes).as_slice() {
            [] => Vec::new(),
            [Piece::Lines { first_line: 1, bytes }] => bytes.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_and_gzip_read_alike() {
        let text = b"{\"a\":1}\n\nlast without an end";
        assert_eq!(lines(text), text);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text[..8]).unwrap();
        let mut two_members = gzip.finish().unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text[8..]).unwrap();
        two_members.extend(gzip.finish().unwrap());
        assert_eq!(lines(&two_members), text);
        assert_eq!(lines(b"\xef\xbb\xbf{}\n"), b"{}\n");
        for short in [&b""[..], b"1", b"\n", b"\x1f"] {
            assert_eq!(lines(short), short);
        }
    }

    #[test]
    fn blocks_hold_whole_lines_and_know_their_numbers() {
        let text: String = (0..40_000).map(|i| format!("line {i} of the file\n")).collect();
        let all = pieces(text.as_bytes());
        assert!(all.len() > 1);
        let mut next = 1;
        for piece in all {
            let Piece::Lines { first_line, bytes } = piece else { panic!("no line is too long") };
            assert_eq!(first_line, next);
            assert_eq!(bytes.last(), Some(&b'\n'));
            next += bytes.iter().filter(|b| **b == b'\n').count() as u64;
        }
        assert_eq!(next, 40_001);
    }

    #[test]
    fn a_line_over_the_bound_is_skipped_and_named() {
        let mut text = b"one\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES_MAX + 5]);
        text.extend(b"\nthree\n");
        text.extend(vec![b'y'; LINE_BYTES_MAX]);
        let expected = [
            Piece::Lines { first_line: 1, bytes: b"one\n".to_vec() },
            Piece::TooLong { line: 2 },
            Piece::Lines { first_line: 3, bytes: b"three\n".to_vec() },
            Piece::TooLong { line: 4 },
        ];
        assert_eq!(pieces(&text), expected);
    }

    #[test]
    fn a_broken_gzip_file_is_an_error() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&[7; 9_000]).unwrap();
        let whole = gzip.finish().unwrap();
        let cut = whole[..whole.len() - 9].to_vec();
        let read: Vec<_> = Pieces::of(Cursor::new(cut)).unwrap().collect();
        assert!(read.last().unwrap().is_err());
    }
}
