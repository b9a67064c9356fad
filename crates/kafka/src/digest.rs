//! The digest of a record.

use ring::digest::{Context, SHA256};

/// SHA-256 of key and value, each preceded by its length as 8 bytes, -1 for null. Headers are not included: they change no
/// result.
pub(crate) fn digest(key: Option<&[u8]>, value: Option<&[u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [key, value] {
        let length = part.map_or(-1, |bytes| bytes.len() as i64);
        context.update(&length.to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_separates_key_and_value() {
        let digests = [
            digest(None, None),
            digest(None, Some(b"")),
            digest(Some(b""), None),
            digest(Some(b"a"), Some(b"b")),
            digest(Some(b"ab"), Some(b"")),
            digest(None, Some(b"ab")),
        ];
        for (at, left) in digests.iter().enumerate() {
            assert!(digests[at + 1..].iter().all(|right| left != right), "{at}");
        }
    }
}
