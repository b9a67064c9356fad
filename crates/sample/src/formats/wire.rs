//! The wire format of Protobuf, without a schema.

/// Whether bytes are the fields of a message. Groups are not, because current clients do not write them.
pub(super) fn is_message(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some((key, rest)) = varint(bytes) else { return false };
        let length = match key & 7 {
            0 => varint(rest).map(|(_, after)| rest.len() - after.len()),
            1 => Some(8),
            2 => varint(rest)
                .and_then(|(length, after)| (rest.len() - after.len()).checked_add(usize::try_from(length).ok()?)),
            5 => Some(4),
            _ => None,
        };
        match length.and_then(|length| rest.get(length..)) {
            Some(after) if key >= 8 => bytes = after,
            _ => return false,
        }
    }
    true
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}
