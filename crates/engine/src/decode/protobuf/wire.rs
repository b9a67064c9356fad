//! The wire format: tags, and values that are passed over.

use crate::decode::binary::{Cursor, Place};

/// Maximum depth of groups that are passed over.
const MAX_GROUPS: usize = 64;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LENGTH: u8 = 2;
pub(super) const START_GROUP: u8 = 3;
pub(super) const END_GROUP: u8 = 4;
pub(super) const FIXED32: u8 = 5;

/// The place of a value without bytes, and of an element that is a scalar.
pub(super) const NO_BYTES: Place = Place { start: 0, end: 0 };

/// The next field number and wire type.
#[inline(always)]
pub(super) fn tag(cursor: &mut Cursor<'_>) -> Option<(u32, u8)> {
    let tag = u32::try_from(cursor.varint()?).ok()?;
    (tag >= 8).then_some((tag >> 3, tag as u8 & 7))
}

/// The place of the next bytes behind their length.
#[inline(always)]
pub(super) fn length_delimited(cursor: &mut Cursor<'_>) -> Option<Place> {
    let length = usize::try_from(cursor.varint()?).ok()?;
    cursor.take(length)
}

/// Passes over the value of a field.
#[inline(always)]
pub(super) fn skip(cursor: &mut Cursor<'_>, number: u32, wire: u8) -> Option<()> {
    match wire {
        LENGTH => length_delimited(cursor).map(|_| ()),
        VARINT => cursor.varint().map(|_| ()),
        FIXED64 => cursor.skip(8),
        FIXED32 => cursor.skip(4),
        START_GROUP => {
            *cursor = cursor.from(skip_group(*cursor, number)?);
            Some(())
        }
        _ => None,
    }
}

/// The position behind the fields of a group and its end.
#[cold]
#[inline(never)]
fn skip_group(mut cursor: Cursor<'_>, number: u32) -> Option<usize> {
    let mut open = [0; MAX_GROUPS];
    let mut depth = 0;
    open[depth] = number;
    loop {
        match tag(&mut cursor)? {
            (number, END_GROUP) if number != open[depth] => return None,
            (_, END_GROUP) if depth == 0 => return Some(cursor.position()),
            (_, END_GROUP) => depth -= 1,
            (number, START_GROUP) => {
                depth += 1;
                *open.get_mut(depth)? = number;
            }
            (number, wire) => skip(&mut cursor, number, wire)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_balanced_and_not_too_deep() {
        let skip = |bytes: &[u8]| {
            let mut cursor = Cursor::new(bytes);
            let (number, wire) = tag(&mut cursor)?;
            skip(&mut cursor, number, wire)?;
            Some(bytes.len() - cursor.position())
        };
        assert_eq!(skip(&[0x0b, 0x08, 1, 0x13, 0x14, 0x0c, 7]), Some(1));
        assert_eq!(skip(&[0x0b, 0x14]), None, "the end of another group");
        assert_eq!(skip(&[0x0b, 0x08, 1]), None, "no end");
        assert_eq!(skip(&[0x0c]), None, "an end without a start");
        assert_eq!(skip(&[0x0e]), None, "no such wire type");
        assert_eq!(skip(&[0x03, 0x04]), None, "field 0");
        for (depth, rest) in [(64, Some(0)), (65, None)] {
            assert_eq!(skip(&[vec![0x0b; depth], vec![0x0c; depth]].concat()), rest, "{depth}");
        }
    }
}
