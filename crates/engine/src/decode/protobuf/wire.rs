//! The wire format: varints, tags, and values that are passed over.

/// Maximum depth of groups that are passed over.
const MAX_GROUPS: usize = 64;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LENGTH: u8 = 2;
pub(super) const START_GROUP: u8 = 3;
pub(super) const END_GROUP: u8 = 4;
pub(super) const FIXED32: u8 = 5;

/// The next varint: at most ten bytes, and no bit above the 64th.
#[inline(always)]
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    match bytes {
        [first, rest @ ..] if *first < 0x80 => {
            *bytes = rest;
            Some((*first).into())
        }
        [first, second, rest @ ..] if *second < 0x80 => {
            *bytes = rest;
            Some(u64::from(first & 0x7f) | u64::from(*second) << 7)
        }
        _ => longer_varint(bytes),
    }
}

/// A varint of three to eight bytes, without a loop; or any other one.
#[inline(always)]
fn longer_varint(bytes: &mut &[u8]) -> Option<u64> {
    const STOPS: u64 = 0x8080_8080_8080_8080;
    let eight = match bytes.first_chunk() {
        Some(eight) => *eight,
        // Near the end of a message: the bytes after it are those of a varint that goes on.
        None => {
            let mut eight = [0xff; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            eight
        }
    };
    let eight = u64::from_le_bytes(eight);
    let stops = !eight & STOPS;
    if stops != 0 {
        let bits = stops.trailing_zeros() + 1;
        *bytes = bytes.get((bits / 8) as usize..)?;
        // Groups of seven bits, then of 14, of 28 and of 56.
        let sevens = eight & (u64::MAX >> (64 - bits)) & !STOPS;
        let pairs = (sevens & 0x007f_007f_007f_007f) | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
        let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
        return Some((fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4);
    }
    any_varint(bytes)
}

#[inline(never)]
fn any_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return (at < 9 || *byte <= 1).then_some(value);
        }
    }
    None
}

/// The next field number and wire type.
#[inline(always)]
pub(super) fn tag(bytes: &mut &[u8]) -> Option<(u32, u8)> {
    let tag = u32::try_from(varint(bytes)?).ok()?;
    (tag >= 8).then_some((tag >> 3, tag as u8 & 7))
}

#[inline(always)]
pub(super) fn fixed64(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*first))
}

#[inline(always)]
pub(super) fn fixed32(bytes: &mut &[u8]) -> Option<u32> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*first))
}

/// The next length and its bytes.
#[inline(always)]
pub(super) fn length_delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Passes over the value of a field.
#[inline(always)]
pub(super) fn skip(bytes: &mut &[u8], number: u32, wire: u8) -> Option<()> {
    match wire {
        LENGTH => length_delimited(bytes).map(|_| ()),
        VARINT => varint(bytes).map(|_| ()),
        FIXED64 => fixed64(bytes).map(|_| ()),
        FIXED32 => fixed32(bytes).map(|_| ()),
        START_GROUP => skip_group(bytes, number),
        _ => None,
    }
}

/// Passes over the fields of a group and its end.
#[cold]
#[inline(never)]
fn skip_group(bytes: &mut &[u8], number: u32) -> Option<()> {
    let mut open = [0; MAX_GROUPS];
    let mut depth = 0;
    open[depth] = number;
    loop {
        match tag(bytes)? {
            (number, END_GROUP) if number != open[depth] => return None,
            (_, END_GROUP) if depth == 0 => return Some(()),
            (_, END_GROUP) => depth -= 1,
            (number, START_GROUP) => {
                depth += 1;
                *open.get_mut(depth)? = number;
            }
            (number, wire) => skip(bytes, number, wire)?,
        }
    }
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
            let mut rest = bytes;
            assert_eq!(varint(&mut rest), expected, "{bytes:?}");
            assert!(expected.is_none() || rest.is_empty(), "{bytes:?}");
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
                    let mut rest = &*all;
                    assert_eq!((varint(&mut rest), rest), (Some(value), more), "{bytes:?}");
                }
            }
        }
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
    }

    #[test]
    fn groups_are_balanced_and_not_too_deep() {
        let skip = |bytes: &[u8]| {
            let mut rest = bytes;
            let (number, wire) = tag(&mut rest)?;
            skip(&mut rest, number, wire)?;
            Some(rest.len())
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
