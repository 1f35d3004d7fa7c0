//! Lines into gzip members.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

/// Level 6: on one core of the reference machine zlib-rs makes 115 MB/s of it,
/// and level 9 is larger and slower on events.
const LEVEL: Compression = Compression::new(6);

/// Bytes of a partition that wait for the compressor. A quiet day never starts
/// one before the batch closes, so a batch of many quiet days holds many small
/// buffers but never many compressors.
const HELD: usize = 64 * 1024;

/// The object of one partition, being written.
#[derive(Debug)]
pub struct Encoder {
    held: Vec<u8>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    events: u64,
}

/// A finished object body.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// One gzip member with modification time 0.
    pub body: Bytes,
    /// CRC-32 of `body`.
    pub crc32: u32,
    /// Lines in it.
    pub events: u64,
}

impl Encoder {
    /// An empty object.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: Vec::new(), gzip: None, events: 0 }
    }

    /// Appends `line` and a newline.
    ///
    /// # Errors
    ///
    /// None in practice: the sink is memory.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(line);
        self.held.push(b'\n');
        self.events += 1;
        if self.held.len() >= HELD {
            self.gzip.get_or_insert_with(compressor).write_all(&self.held)?;
            self.held.clear();
        }
        Ok(())
    }

    /// Bytes that the object occupies so far: those compressed and those held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.held.len() + self.gzip.as_ref().map_or(0, |gzip| gzip.get_ref().len())
    }

    /// Ends the member.
    ///
    /// # Errors
    ///
    /// None in practice: the sink is memory.
    pub fn finish(self) -> io::Result<Encoded> {
        let mut gzip = self.gzip.unwrap_or_else(compressor);
        gzip.write_all(&self.held)?;
        let body = gzip.finish()?;
        Ok(Encoded { crc32: crc32fast::hash(&body), body: body.into(), events: self.events })
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

fn compressor() -> GzEncoder<Vec<u8>> {
    GzBuilder::new().mtime(0).write(Vec::new(), LEVEL)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn an_object_is_one_member_that_holds_the_lines_and_no_time() {
        let mut encoder = Encoder::new();
        let mut expected = Vec::new();
        for n in 0..5_000 {
            let line = format!("{{\"n\":{n},\"x\":\"{:032x}\"}}", n * 7919);
            encoder.line(line.as_bytes()).unwrap();
            expected.extend_from_slice(line.as_bytes());
            expected.push(b'\n');
        }
        let object = encoder.finish().unwrap();
        assert_eq!(object.events, 5_000);
        assert_eq!(object.crc32, crc32fast::hash(&object.body));
        assert_eq!(object.body[4..8], [0; 4], "modification time");
        // A single-member decoder must see everything and leave nothing.
        let mut decoder = flate2::bufread::GzDecoder::new(&object.body[..]);
        let mut lines = Vec::new();
        decoder.read_to_end(&mut lines).unwrap();
        assert_eq!(lines, expected);
        assert!(decoder.into_inner().is_empty());
    }
}
