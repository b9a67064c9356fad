//! Reads the bytes of a record from front to back.

use crate::decode::number::HIGH;

/// The bytes of a record, or of a part of it, and the position of the next one. `None` from a function: the part ends, or is
/// malformed.
#[derive(Clone, Copy, Debug)]
pub(in crate::decode) struct Cursor<'a> {
    /// The record.
    bytes: &'a [u8],
    /// At most `end`.
    at: usize,
    /// At most the length of `bytes`.
    end: usize,
}

/// Where bytes are in a record, which has less than 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::decode) struct Place {
    pub(in crate::decode) start: u32,
    pub(in crate::decode) end: u32,
}

impl Place {
    /// The bytes here. Empty beyond the end of the record.
    #[inline(always)]
    pub(in crate::decode) fn of(self, record: &[u8]) -> &[u8] {
        record.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl<'a> Cursor<'a> {
    pub(in crate::decode) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() }
    }

    #[inline(always)]
    pub(in crate::decode) const fn is_at_end(self) -> bool {
        self.at >= self.end
    }

    #[inline(always)]
    pub(in crate::decode) const fn position(self) -> usize {
        self.at
    }

    /// The same part from a position in it on.
    #[inline(always)]
    pub(in crate::decode) fn from(self, at: usize) -> Self {
        Self { at: at.min(self.end), ..self }
    }

    /// The bytes at a place of the record, and no others.
    #[inline(always)]
    pub(in crate::decode) fn within(self, Place { start, end }: Place) -> Option<Self> {
        let end = end as usize;
        (end <= self.bytes.len()).then_some(Self { bytes: self.bytes, at: end.min(start as usize), end })
    }

    /// The next byte, which stays the next one.
    #[inline(always)]
    pub(in crate::decode) fn peek(self) -> Option<u8> {
        self.bytes.get(self.at).filter(|_| self.at < self.end).copied()
    }

    #[inline(always)]
    pub(in crate::decode) fn skip(&mut self, count: usize) -> Option<()> {
        if count > self.end - self.at {
            return None;
        }
        self.at += count;
        Some(())
    }

    /// The place of the next bytes.
    #[inline(always)]
    pub(in crate::decode) fn take(&mut self, count: usize) -> Option<Place> {
        let start = self.at as u32;
        self.skip(count)?;
        Some(Place { start, end: self.at as u32 })
    }

    #[inline(always)]
    pub(in crate::decode) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.bytes.get(self.at..)?.first_chunk()?;
        self.skip(N)?;
        Some(array)
    }

    /// A varint: at most ten bytes, and no bit above the 64th.
    #[inline(always)]
    pub(in crate::decode) fn varint(&mut self) -> Option<u64> {
        let first = self.peek()?;
        if first < 0x80 {
            self.at += 1;
            return Some(first.into());
        }
        // They can be behind the end of the part.
        let eight = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        let (value, length) = match eight.and_then(|eight| varint_of_eight(*eight)) {
            Some(short) => short,
            None => any_varint(self.bytes.get(self.at..)?)?,
        };
        self.skip(length)?;
        Some(value)
    }

    /// A varint that is zigzag.
    #[inline(always)]
    pub(in crate::decode) fn zigzag(&mut self) -> Option<i64> {
        self.varint().map(zigzag)
    }
}

/// The signed number of a zigzag varint.
#[inline(always)]
pub(in crate::decode) const fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The varint at the front of eight bytes, and its length. `None` if it is longer.
#[inline(always)]
fn varint_of_eight(eight: [u8; 8]) -> Option<(u64, usize)> {
    let word = u64::from_le_bytes(eight);
    let ends = !word & HIGH;
    if ends == 0 {
        return None;
    }
    // Ones up to the end of the varint.
    let mask = ends ^ (ends - 1);
    // Groups of 7 bits become groups of 14, 28 and 56.
    let sevens = word & mask & !HIGH;
    let pairs = (sevens & 0x007f_007f_007f_007f) | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    let value = (fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4;
    Some((value, ends.trailing_zeros() as usize / 8 + 1))
}

/// The varint at the front of these bytes, and its length.
#[inline(never)]
fn any_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            // The tenth byte has the 64th bit.
            return (at < 9 || *byte < 2).then_some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_ten_bytes_and_64_bits() {
        for (bytes, expected) in [
            (&[0][..], Some(0)),
            (&[0x80, 0], Some(0)),
            (&[0xac, 2], Some(300)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], None),
            (&[0x80], None),
            (&[], None),
        ] {
            let mut cursor = Cursor::new(bytes);
            assert_eq!(cursor.varint(), expected, "{bytes:?}");
            assert!(expected.is_none() || cursor.is_at_end(), "{bytes:?}");
        }
        for bits in 0..64 {
            for value in [1 << bits, (1 << bits) - 1, u64::MAX >> bits] {
                let mut bytes = Vec::new();
                let mut rest = value;
                while rest >= 0x80 {
                    bytes.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
                for more in [&[][..], &[0xff; 9]] {
                    let all = [&bytes, more].concat();
                    let mut cursor = Cursor::new(&all);
                    assert_eq!((cursor.varint(), cursor.position()), (Some(value), bytes.len()), "{bytes:?}");
                }
            }
        }
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
    }

    #[test]
    fn bytes_are_taken_up_to_the_end_of_a_part() {
        let record = [1, 2, 3, 4, 5];
        let mut cursor = Cursor::new(&record);
        assert_eq!(cursor.take(2), Some(Place { start: 0, end: 2 }));
        assert_eq!((cursor.skip(4), cursor.skip(usize::MAX), cursor.array::<4>()), (None, None, None));
        let part = cursor.take(2).expect("two more bytes");
        assert_eq!(part.of(&record), [3, 4]);
        let mut inside = cursor.within(part).expect("a part of the record");
        assert_eq!(
            (inside.position(), inside.take(3), inside.varint(), inside.take(1)),
            (2, None, Some(3), Some(Place { start: 3, end: 4 }))
        );
        assert!(inside.is_at_end() && inside.peek().is_none());
        assert_eq!((cursor.peek(), cursor.take(1), cursor.take(1)), (Some(5), Some(Place { start: 4, end: 5 }), None));
        assert!(cursor.within(Place { start: 3, end: 6 }).is_none());
        assert_eq!(cursor.from(1).peek(), Some(2));
        assert!(cursor.from(9).is_at_end());
    }
}
