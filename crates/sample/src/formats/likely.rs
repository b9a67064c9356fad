//! Which format records have that look as if they name a schema.

use super::wire::is_message;
use crate::json::{Json, Kind};

/// A format by its name in `format.type`, for a value that begins with the id of a schema. Only the registry knows it for certain.
pub(crate) fn likely_format(value: &[u8]) -> Option<(u32, &'static str)> {
    let ([0, id @ ..], body) = value.split_first_chunk::<5>()? else { return None };
    let is_object = |text: &str| Json::parse(text).is_ok_and(|record| record.kind() == Kind::Object);
    let format = match body {
        text if std::str::from_utf8(text).is_ok_and(is_object) => "JSONSchema",
        // The first message of a file. Avro rarely begins with a zero byte and follows the wire format of Protobuf.
        [0, message @ ..] if is_message(message) => "Protobuf",
        _ => "Avro",
    };
    Some((u32::from_be_bytes(*id), format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_of_a_framed_value_is_guessed_by_its_body() {
        let likely = |body: &[u8]| likely_format(&[&[0, 0, 0, 1, 2], body].concat());
        assert_eq!(likely(b"{\"a\": 1}"), Some((258, "JSONSchema")));
        assert_eq!(likely(b"\0\x08\x01\x12\x02ab"), Some((258, "Protobuf")));
        assert_eq!(likely(b"\0\x08\x01\x12\x03ab"), Some((258, "Avro")), "a truncated field");
        assert_eq!(likely(b"\x02a\x04"), Some((258, "Avro")));
        assert_eq!(likely_format(b"{\"a\": 1}"), None);
        assert_eq!(likely_format(b"\0\0\0"), None);
    }
}
