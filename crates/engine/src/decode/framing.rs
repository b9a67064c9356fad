//! Where a record names its schema: before its body, or in a header.
//!
//! ```text
//!   value:  00, id (4 bytes, big endian), [Protobuf: message indexes], body
//!   header: 01, GUID (16 bytes), [Protobuf: message indexes]          and the value is the body
//! ```

use crate::schema::{Format, SchemaId};

/// A record whose schema is known by its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Framed<'a> {
    pub(super) id: SchemaId,
    /// The bytes behind the GUID in the header; `None` without a header. Only Protobuf has anything there.
    pub(super) header_rest: Option<&'a [u8]>,
    /// The bytes behind the id in the value; with a header, the value.
    pub(super) rest: &'a [u8],
}

impl<'a> Framed<'a> {
    /// Finds the id. A header takes precedence. `None` if neither header nor value has one.
    #[inline(always)]
    pub(super) fn of(value: &'a [u8], header: Option<&'a [u8]>) -> Option<Self> {
        if let Some(header) = header {
            return Self::of_header(value, header);
        }
        let ([0, number @ ..], rest) = value.split_first_chunk::<5>()? else { return None };
        Some(Self { id: SchemaId::Number(u32::from_be_bytes(*number)), header_rest: None, rest })
    }

    #[cold]
    fn of_header(value: &'a [u8], header: &'a [u8]) -> Option<Self> {
        let ([1, guid @ ..], rest) = header.split_first_chunk::<17>()? else { return None };
        Some(Self { id: SchemaId::Guid(*guid), header_rest: Some(rest), rest: value })
    }

    /// The body of a record without message indexes. `None` if the header has bytes behind the GUID.
    #[inline(always)]
    pub(super) fn body(self) -> Option<&'a [u8]> {
        match self.header_rest {
            None | Some([]) => Some(self.rest),
            Some(_) => None,
        }
    }

    /// The body of the first message of a schema, which is the most common one. `None` for any other message.
    #[inline(always)]
    pub(super) fn first_body(self) -> Option<&'a [u8]> {
        match (self.header_rest, self.rest) {
            (None, [0, body @ ..]) => Some(body),
            _ => None,
        }
    }

    /// The message indexes and the body. `None` if the indexes are malformed.
    pub(super) fn indexed_body(self) -> Option<(MessageIndexes, &'a [u8])> {
        match self.header_rest {
            None => MessageIndexes::split(self.rest),
            Some(header) => match MessageIndexes::split(header)? {
                (indexes, []) => Some((indexes, self.rest)),
                _ => None,
            },
        }
    }
}

/// A record split for explanations: the id of its schema, and its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The id of its schema.
    pub id: SchemaId,
    /// The place of the message in its Protobuf file, without one in other formats, and the body. `None` if the place is malformed.
    pub body: Option<(Vec<u32>, &'a [u8])>,
}

impl<'a> Frame<'a> {
    /// Splits a record of a format, with the value of its header `__value_schema_id`. `None` if it names no schema.
    pub fn of(format: Format, value: &'a [u8], header: Option<&'a [u8]>) -> Option<Self> {
        let framed = Framed::of(value, header)?;
        let body = match format {
            Format::Protobuf => framed.indexed_body().map(|(indexes, body)| (indexes.as_slice().to_vec(), body)),
            Format::Json | Format::JsonSchema | Format::Avro => Some((Vec::new(), framed.body()?)),
        };
        Some(Self { id: framed.id, body })
    }
}

/// Maximum nesting of a message in other messages.
const MAX_INDEXES: usize = 16;

/// The place of a message in its file: the position of its outermost message, and of each nested one in the one around it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct MessageIndexes {
    indexes: [u32; MAX_INDEXES],
    count: usize,
}

impl MessageIndexes {
    /// The first message.
    const FIRST: Self = Self { indexes: [0; MAX_INDEXES], count: 1 };

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.indexes[..self.count]
    }

    /// The indexes at the start of some bytes, and the bytes after them.
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        // The most common index is written as its count alone, zero.
        let (count, mut rest) = zigzag(bytes)?;
        if count == 0 {
            return Some((Self::FIRST, rest));
        }
        let count = count as usize;
        let mut indexes = [0; MAX_INDEXES];
        for index in indexes.get_mut(..count)? {
            (*index, rest) = zigzag(rest)?;
        }
        Some((Self { indexes, count }, rest))
    }
}

/// A number that is not negative as a zigzag varint, and the bytes after it.
fn zigzag(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            let number = u32::try_from(value >> 1).ok().filter(|_| value & 1 == 0)?;
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn ids_come_from_the_header_or_else_from_the_value() {
        let header = [&[1], &GUID[..]].concat();
        let number = |value: &'static [u8]| Framed::of(value, None).map(|framed| (framed.id, framed.body()));
        assert_eq!(number(b"\0\x80\0\0\x05body"), Some((SchemaId::Number(0x8000_0005), Some(&b"body"[..]))));
        assert_eq!(number(b"\0\0\0\0\x05"), Some((SchemaId::Number(5), Some(&b""[..]))));
        for value in [&b"\0\0\0\0"[..], b"\x01\0\0\0\x05body", b"{\"a\": 1}", b""] {
            assert_eq!(Framed::of(value, None), None, "{value:?}");
        }
        let framed = Framed::of(b"\0\0\0\0\x05body", Some(&header));
        let with_header = framed.map(|framed| (framed.id, framed.body()));
        assert_eq!(with_header, Some((SchemaId::Guid(GUID), Some(&b"\0\0\0\0\x05body"[..]))), "all of it is the body");
        assert_eq!(Framed::of(b"\0\0\0\0\x05body", Some(&header[..16])), None, "a header that is cut");
        assert_eq!(Framed::of(b"\0\0\0\0\x05body", Some(b"\0\0\0\0\x05")), None, "a header without a GUID");
        let longer = [&header[..], b"\0"].concat();
        assert_eq!(Framed::of(b"body", Some(&longer)).map(Framed::body), Some(None));
    }

    #[test]
    fn message_indexes_are_before_the_body_or_in_the_header() {
        for (bytes, expected) in [
            (&b"\0body"[..], Some((vec![0], &b"body"[..]))),
            (b"\x02\x06body", Some((vec![3], b"body"))),
            (b"\x04\0\0", Some((vec![0, 0], b""))),
            (b"\x02\xac\x02body", Some((vec![150], b"body"))),
            (b"", None),
            (b"\x04\0", None),
            (b"\x01\0", None),
            (b"\x02\x01", None),
            (b"\xff\xff\xff\xff\xff\0", None),
            (b"\xfe\xff\xff\xff\x0f\0", None),
        ] {
            let value = [b"\0\0\0\0\x05", bytes].concat();
            let found = Framed::of(&value, None).and_then(Framed::indexed_body);
            let found = found.map(|(indexes, body)| (indexes.as_slice().to_vec(), body));
            assert_eq!(found, expected, "{bytes:?}");
        }
        let many = [&[34][..], &[0; 17]].concat();
        assert_eq!(MessageIndexes::split(&many), None, "17 indexes");
        let header = [&[1], &GUID[..], b"\x02\x06"].concat();
        let found = Framed::of(b"\0body", Some(&header)).and_then(Framed::indexed_body);
        assert_eq!(found.map(|(indexes, body)| (indexes.as_slice().to_vec(), body)), Some((vec![3], &b"\0body"[..])));
    }
}
