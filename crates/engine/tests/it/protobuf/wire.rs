//! Messages written by hand.

/// The value of a field.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    Varint(u64),
    Text(&'static str),
    Bytes(Vec<u8>),
    Double(f64),
    Fixed32(u32),
    Message(Vec<(u32, Wire)>),
    Group(Vec<(u32, Wire)>),
}

pub(super) fn varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(super) fn tag(number: u32, wire: u8, bytes: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | u64::from(wire), bytes);
}

pub(super) fn delimited(content: &[u8], bytes: &mut Vec<u8>) {
    varint(content.len() as u64, bytes);
    bytes.extend(content);
}

/// The bytes of a message with these fields in this order.
pub(super) fn message(fields: &[(u32, Wire)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, value) in fields {
        match value {
            Wire::Varint(value) => {
                tag(*number, 0, &mut bytes);
                varint(*value, &mut bytes);
            }
            Wire::Text(text) => {
                tag(*number, 2, &mut bytes);
                delimited(text.as_bytes(), &mut bytes);
            }
            Wire::Bytes(content) => {
                tag(*number, 2, &mut bytes);
                delimited(content, &mut bytes);
            }
            Wire::Double(value) => {
                tag(*number, 1, &mut bytes);
                bytes.extend(value.to_le_bytes());
            }
            Wire::Fixed32(value) => {
                tag(*number, 5, &mut bytes);
                bytes.extend(value.to_le_bytes());
            }
            Wire::Message(fields) => {
                tag(*number, 2, &mut bytes);
                delimited(&message(fields), &mut bytes);
            }
            Wire::Group(fields) => {
                tag(*number, 3, &mut bytes);
                bytes.extend(message(fields));
                tag(*number, 4, &mut bytes);
            }
        }
    }
    bytes
}
