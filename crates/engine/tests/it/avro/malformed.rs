//! Malformed bodies, and valid ones that only look wrong.

use retail_oracle::OracleMapping;

use super::{field, framed, judge, mapping, outcome, record};

/// The dimension `a`, two pieces, the price 3.
const SALE: &[u8] = b"\x02a\x04\x06";

const FIELDS: &str =
    r#"{"name": "d", "type": "string"}, {"name": "qty", "type": "int"}, {"name": "price", "type": "long"}"#;

/// The result of a record with a field `x` of this type before the others.
fn with_first(of_type: &str, bytes: &[u8]) -> String {
    let schema = record(&format!(r#"{{"name": "x", "type": {of_type}}}, {FIELDS}"#));
    outcome(&mut judge(mapping("d"), &schema), &[bytes, SALE].concat())
}

#[test]
fn only_the_way_to_the_next_value_is_checked_of_skipped_values() {
    let malformed = "malformed_avro";
    let array = |of: &str| format!(r#"{{"type": "array", "items": {of}}}"#);
    let map = |of: &str| format!(r#"{{"type": "map", "values": {of}}}"#);
    let record = r#"{"type": "record", "name": "E", "fields": []}"#;
    for (of_type, bytes, expected) in [
        ("\"string\"", &b"\x02\xff"[..], "a"),
        ("\"string\"", b"\x01", malformed),
        ("\"string\"", b"\x7f", malformed),
        ("\"string\"", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", malformed),
        ("\"boolean\"", b"\x07", "a"),
        ("\"long\"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a"),
        ("\"long\"", b"\x80\x00", "a"),
        ("\"long\"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", malformed),
        ("\"long\"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x01", malformed),
        ("\"long\"", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", malformed),
        ("\"int\"", b"\xff\xff\xff\xff\xff\x01", "a"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, b"\x64", "a"),
        ("[\"null\", \"int\"]", b"\x00", "a"),
        ("[\"null\", \"int\"]", b"\x02\x07", "a"),
        ("[\"null\", \"int\"]", b"\x04", malformed),
        ("[\"null\", \"int\"]", b"\x01", malformed),
        ("[]", b"\x00", malformed),
        (&array("\"int\""), b"\x04\x02\x02\x02\x02\x00", "a"),
        (&array("\"int\""), b"\x00", "a"),
        // A block with its size is skipped as a whole.
        (&array("\"int\""), b"\x03\x04\xff\xff\x00", "a"),
        (&array("\"int\""), b"\x03\x7f", malformed),
        (&array("\"int\""), b"\x03\x01\x00", malformed),
        (&array("\"int\""), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x02\x00", "a"),
        (&array("\"int\""), b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02", malformed),
        (&map("\"int\""), b"\x02\x02\xff\x02\x00", "a"),
        (&map("\"int\""), b"\x03\x06\x02\xff\x02\x00", "a"),
        // 65,536 items without bytes, and one more, in one or two arrays.
        (&array("\"null\""), b"\x80\x80\x08\x00", "a"),
        (&array("\"null\""), b"\x82\x80\x08\x00", malformed),
        (&array("\"null\""), b"\x02\x80\x80\x08\x00", malformed),
        (&array(record), b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", malformed),
        (&array(record), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00", "a"),
        (&array(&array("\"null\"")), b"\x04\x80\x80\x04\x00\x80\x80\x04\x00\x00", "a"),
        (&array(&array("\"null\"")), b"\x04\x80\x80\x04\x00\x82\x80\x04\x00\x00", malformed),
    ] {
        assert_eq!(with_first(of_type, bytes), expected, "{of_type} {}", bytes.escape_ascii());
    }
}

#[test]
fn last_of_equal_keys_replaces_all_of_the_others() {
    let inner = r#"{"type": "record", "name": "R", "fields": [{"name": "d", "type": "string"}]}"#;
    let map = format!(r#"{{"type": "map", "values": ["null", {inner}]}}"#);
    let schema = record(&format!(r#"{{"name": "m", "type": {map}}}, {FIELDS}"#));
    let mut judge = judge(mapping("m.k.d"), &schema);
    for (entries, expected) in [
        (&b"\x02\x02k\x02\x02a\x00"[..], "a"),
        (b"\x04\x02k\x00\x02k\x02\x02a\x00", "a"),
        (b"\x04\x02k\x02\x02a\x02k\x00\x00", "missing_field"),
        (b"\x02\x02k\x02\x02a\x02\x02k\x02\x02b\x00", "b"),
    ] {
        assert_eq!(outcome(&mut judge, &[entries, SALE].concat()), expected, "{}", entries.escape_ascii());
    }
}

#[test]
fn varints_of_all_lengths_are_read() {
    let schema = record(&format!(r#"{{"name": "x", "type": "long"}}, {FIELDS}"#));
    let mut judge = judge(mapping("x"), &schema);
    for shift in 0..64 {
        for value in
            [1_i64 << shift, (1_i64 << shift).wrapping_sub(1), (1_i64 << shift).wrapping_neg(), i64::MAX >> shift]
        {
            let mut bits = (value << 1 ^ value >> 63).cast_unsigned();
            let mut body = Vec::new();
            while bits >= 0x80 {
                body.push(bits as u8 | 0x80);
                bits >>= 7;
            }
            body.push(bits as u8);
            assert_eq!(outcome(&mut judge, &[&body, SALE].concat()), value.to_string());
        }
    }
}

#[test]
fn wanted_values_are_checked() {
    let of = |of_type: &str, bytes: &[u8]| {
        let schema = record(&format!(
            r#"{{"name": "d", "type": {of_type}}}, {{"name": "qty", "type": "int"}}, {{"name": "price", "type": "long"}}"#
        ));
        outcome(&mut judge(mapping("d"), &schema), &[bytes, b"\x04\x06"].concat())
    };
    for (of_type, bytes, expected) in [
        ("\"string\"", &b"\x02a"[..], "a"),
        ("\"string\"", b"\x02\xff", "malformed_avro"),
        ("\"boolean\"", b"\x01", "true"),
        ("\"boolean\"", b"\x02", "malformed_avro"),
        ("\"int\"", b"\xff\xff\xff\xff\x0f", "-2147483648"),
        ("\"int\"", b"\x80\x80\x80\x80\x10", "malformed_avro"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, b"\x00", "A"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, b"\x02", "malformed_avro"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, b"\x01", "malformed_avro"),
        ("\"bytes\"", b"\x02\xff", "bad_key"),
        (r#"{"type": "bytes", "logicalType": "decimal", "precision": 4}"#, b"\x00", "bad_key"),
    ] {
        assert_eq!(of(of_type, bytes), expected, "{of_type} {}", bytes.escape_ascii());
    }
    let longest = |bytes: usize| {
        let length = 2 * bytes;
        [&[(length & 0x7f) as u8 | 0x80, (length >> 7) as u8][..], &vec![0x7f; bytes][..]].concat()
    };
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 9999, "scale": 400}"#;
    assert_eq!(of(decimal, &longest(1024)), "bad_key");
    assert_eq!(of(decimal, &longest(1025)), "bad_key");
}

#[test]
fn every_part_of_a_record_is_malformed() {
    let schema =
        record(&format!(r#"{FIELDS}, {{"name": "more", "type": {{"type": "map", "values": ["null", "double"]}}}}"#));
    let mut judge = judge(mapping("d"), &schema);
    let body = [SALE, b"\x04\x02x\x02\0\0\0\0\0\0\0\0\x02y\x00\x00"].concat();
    assert_eq!(outcome(&mut judge, &body), "a");
    for end in 0..body.len() {
        assert_eq!(outcome(&mut judge, &body[..end]), "malformed_avro", "{end}");
    }
    assert_eq!(outcome(&mut judge, &[&body[..], b"\0"].concat()), "malformed_avro");
    assert_eq!(judge.ask(&body), "no_schema_id");
    assert_eq!(judge.ask_with(&framed(1, &body), Some(b"\x010123456789abcdef\0")), "no_schema_id");
}

#[test]
fn values_are_at_most_64_containers_deep() {
    let list = r#"{"name": "d", "type": "string"}, {"name": "qty", "type": "int"}, {"name": "price", "type": "long"},
        {"name": "list", "type": {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}}"#;
    let nested = r#"{"name": "d", "type": "string"}, {"name": "qty", "type": "int"}, {"name": "price", "type": "long"},
        {"name": "tree", "type": {"type": "record", "name": "T", "fields": [{"name": "all", "type": {"type": "array", "items": "T"}}]}}"#;
    // The record is the first container; the list has one for each of its links, the tree two.
    for (fields, deepest, link, end) in [(list, 63, &b"\x02"[..], &b"\x00"[..]), (nested, 32, b"\x02", b"\x00")] {
        let mut judge = judge(mapping("d"), &record(fields));
        for links in 1..200 {
            let (before, after) = (link.repeat(links - 1), if link == end { 0 } else { links - 1 });
            let after = if fields == nested { end.repeat(after) } else { Vec::new() };
            let body = [SALE, &before, end, &after].concat();
            let expected = if links < deepest || (links == deepest && fields == list) { "a" } else { "malformed_avro" };
            assert_eq!(outcome(&mut judge, &body), expected, "{links}");
        }
        let body = [SALE, &link.repeat(1_000_000)].concat();
        assert_eq!(outcome(&mut judge, &body), "malformed_avro");
    }
}

#[test]
fn elements_and_maps_are_read_in_any_blocks() {
    let item = r#"{"type": "record", "name": "I", "fields": [{"name": "qty", "type": "int"}, {"name": "price", "type": "long"}]}"#;
    let fields = format!(
        r#"{{"name": "items", "type": {{"type": "array", "items": {item}}}}}, {{"name": "labels", "type": {{"type": "map", "values": "string"}}}}"#
    );
    let exploded =
        OracleMapping { dimensions: vec![field("$.labels.shop")], explode: Some("items".to_owned()), ..mapping("") };
    let mut judge = judge(exploded, &record(&fields));
    let shop = &b"\x02\x08shop\x02a\x00"[..];
    for (items, labels, expected) in [
        (&b"\x04\x02\x02\x04\x04\x00"[..], shop, "a"),
        (b"\x02\x02\x02\x02\x04\x04\x00", shop, "a"),
        // The size of a block that is read has no meaning.
        (b"\x01\xff\x01\x02\x02\x02\x04\x04\x00", shop, "a"),
        (b"\x02\x00\x02\x00", shop, "bad_quantity"),
        (b"\x00", shop, "bad_items"),
        (b"\x02\x02\x02\x00", b"\x00", "missing_field"),
        (b"\x02\x02\x02\x00", b"\x02\x08shop\x02b\x03\x01\x08shop\x02a\x02x\x02\xff\x00", "a"),
        (b"\x02\x02\x02\x00", b"\x04\x08shop\x02\xff\x08shop\x02a\x00", "malformed_avro"),
        (b"\x02\x02\x02\x00", b"\x04\x08shop\x02a\x08shop\x00\x00", "bad_key"),
    ] {
        let body = [items, labels].concat();
        assert_eq!(outcome(&mut judge, &body), expected, "{}", body.escape_ascii());
    }
    for (count, expected) in [(1000, "a"), (1001, "bad_items"), (5000, "bad_items")] {
        let items = [&b"\x02\x02\x02"[..]].concat().repeat(count);
        let body = [&items, &b"\x00"[..], shop].concat();
        assert_eq!(outcome(&mut judge, &body), expected, "{count}");
    }
    let many = |number: usize| format!("\x02\x0a{number:05}\x02x").into_bytes();
    let labels: Vec<u8> = (0..10_000).flat_map(many).chain(shop.iter().copied()).collect();
    assert_eq!(outcome(&mut judge, &[&b"\x02\x02\x02\x00"[..], &labels].concat()), "a", "10,000 entries before it");
}
