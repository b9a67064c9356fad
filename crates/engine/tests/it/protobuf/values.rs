//! Each rule of reading messages, on records written by hand.

use allocation_counter::measure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use retail_engine::{Engine, Record, Rules, SchemaId, SchemaKind, SchemaText, Span, Start, Timestamp};
use retail_oracle::{OracleField, OracleMapping};

use super::judges::{Judges, ORDER, Schema, field, framed, mapping, or, scaled};
use super::wire::Wire::{Bytes, Double, Fixed32, Group, Message, Text, Varint};
use super::wire::{Wire, message};
use crate::mapped_judge::engines_mapping;

const TIME: u64 = 1_735_689_600;

/// A mapping of flat orders with this dimension.
fn by(dimension: OracleField) -> OracleMapping {
    OracleMapping { dimensions: vec![dimension], ..mapping(&[], "q", scaled("cents", 2)) }
}

/// The fate, and the key and amount of an applied record, of an order by this mapping.
fn fate(mapping: &OracleMapping, body: &[u8]) -> String {
    let mut judges = Judges::new(mapping, &[Schema::new(ORDER)]);
    let said = judges.ask_at(&framed(1, &[0], body), 1000 * TIME as i64);
    said.replacen(&format!("applied {TIME} "), "", 1)
}

/// An order of two pieces for 19.99 each, and these fields.
fn order(more: &[(u32, Wire)]) -> Vec<u8> {
    let order = message(&[(2, Varint(2)), (3, Varint(1999))]);
    [order, message(more)].concat()
}

/// The key of an order with these fields by a dimension; or its fate.
fn key(dimension: OracleField, more: &[(u32, Wire)]) -> String {
    let said = fate(&by(dimension), &order(more));
    said.strip_suffix(" 2 19.990000 39.980000 []").map_or(said.clone(), str::to_owned)
}

#[test]
fn absent_fields_have_a_default_or_are_missing() {
    for (path, absent) in [
        ("kind", "[\"SALE\"]"),
        ("large", "[\"0\"]"),
        ("paid", "[\"false\"]"),
        ("k", "bad_key"),
        ("raw", "bad_key"),
        ("price", "bad_key"),
        ("lines", "bad_key"),
        ("stores", "bad_key"),
        ("note", "[\"none\"]"),
        ("card", "[\"none\"]"),
        ("coupon", "[\"none\"]"),
        ("at", "[\"none\"]"),
        ("store.id", "[\"none\"]"),
        ("stores.A.id", "[\"none\"]"),
        ("fees.1", "[\"none\"]"),
        ("nothing", "[\"none\"]"),
        ("k.id", "[\"none\"]"),
        ("numbers.a", "[\"none\"]"),
    ] {
        assert_eq!(key(or(path, "none"), &[]), absent, "{path}");
    }
    // A message that is there has the defaults of its fields.
    assert_eq!(key(or("store.id", "none"), &[(5, Message(vec![]))]), "bad_key");
    assert_eq!(key(or("store.inner.id", "none"), &[(5, Message(vec![]))]), "[\"none\"]");
    assert_eq!(key(or("coupon", "none"), &[(15, Message(vec![]))]), "bad_key");
    assert_eq!(key(or("pieces", "none"), &[(16, Message(vec![]))]), "[\"0\"]");
    assert_eq!(key(or("note", "none"), &[(11, Text(""))]), "bad_key");
}

#[test]
fn values_are_read_by_their_type() {
    for (path, fields, expected) in [
        ("k", vec![(1, Text("A"))], "[\"A\"]"),
        ("k", vec![(1, Text("A")), (1, Text("B"))], "[\"B\"]"),
        ("kind", vec![(14, Varint(0))], "[\"SALE\"]"),
        ("kind", vec![(14, Varint(300))], "[\"OTHER\"]"),
        ("kind", vec![(14, Varint(-2_i64 as u64))], "[\"REFUND\"]"),
        ("kind", vec![(14, Varint(7))], "[\"7\"]"),
        ("large", vec![(17, Varint(u64::MAX))], "[\"18446744073709551615\"]"),
        ("millis", vec![(21, Varint(u64::MAX))], "[\"-1\"]"),
        ("paid", vec![(20, Varint(2))], "[\"true\"]"),
        ("raw", vec![(13, Text("é"))], "[\"é\"]"),
        ("raw", vec![(13, Bytes(vec![0xff]))], "bad_key"),
        ("price", vec![(12, Double(2.0))], "bad_key"),
        ("store", vec![(5, Message(vec![]))], "bad_key"),
        ("at", vec![(4, Message(vec![]))], "bad_key"),
        ("at.seconds", vec![(4, Message(vec![(1, Varint(5))]))], "[\"5\"]"),
        ("coupon", vec![(15, Message(vec![(1, Text("C"))]))], "[\"C\"]"),
        ("coupon", vec![(15, Message(vec![(1, Text("C"))])), (15, Message(vec![]))], "[\"C\"]"),
        ("coupon.value", vec![(15, Message(vec![(1, Text("C"))]))], "missing_field"),
        ("pieces", vec![(16, Message(vec![(1, Varint(9))]))], "[\"9\"]"),
        ("money.currency_code", vec![(19, Message(vec![(1, Text("IDR"))]))], "[\"IDR\"]"),
        // A message is merged, a scalar of it replaced.
        ("store.id", vec![(5, Message(vec![(1, Text("S"))])), (5, Message(vec![(3, Text("Łódź"))]))], "[\"S\"]"),
        ("store.id", vec![(5, Message(vec![(1, Text("S"))])), (5, Message(vec![(1, Text("T"))]))], "[\"T\"]"),
        // Recursive messages.
        (
            "store.inner.inner.id",
            vec![(5, Message(vec![(2, Message(vec![(2, Message(vec![(1, Text("X"))]))]))]))],
            "[\"X\"]",
        ),
        // The member of a oneof that was set last.
        ("card", vec![(6, Text("visa"))], "[\"visa\"]"),
        ("card", vec![(6, Text("visa")), (7, Message(vec![]))], "missing_field"),
        ("card", vec![(7, Message(vec![])), (6, Text("visa"))], "[\"visa\"]"),
        ("cash.id", vec![(7, Message(vec![(1, Text("S"))])), (6, Text("visa"))], "missing_field"),
        ("cash.id", vec![(7, Message(vec![(1, Text("S"))])), (6, Text("visa")), (7, Message(vec![]))], "bad_key"),
        ("cash.id", vec![(7, Message(vec![(1, Text("S"))])), (7, Message(vec![]))], "[\"S\"]"),
        // Another wire type than the declared one is an unknown field, in a oneof too.
        ("k", vec![(1, Text("A")), (1, Varint(5))], "[\"A\"]"),
        ("card", vec![(6, Text("visa")), (7, Varint(5))], "[\"visa\"]"),
        ("millis", vec![(21, Varint(5)), (21, Fixed32(6)), (21, Group(vec![(1, Text("x"))]))], "[\"5\"]"),
        // Entries of maps: the last one of a key, in any order of key and value.
        ("stores.A.id", vec![(8, Message(vec![(1, Text("A")), (2, Message(vec![(1, Text("S"))]))]))], "[\"S\"]"),
        ("stores.A.id", vec![(8, Message(vec![(2, Message(vec![(1, Text("S"))])), (1, Text("A"))]))], "[\"S\"]"),
        (
            "stores.A.id",
            vec![
                (8, Message(vec![(1, Text("A")), (2, Message(vec![(1, Text("S"))]))])),
                (8, Message(vec![(1, Text("B")), (2, Message(vec![(1, Text("T"))]))])),
            ],
            "[\"S\"]",
        ),
        (
            "stores.A.id",
            vec![
                (8, Message(vec![(1, Text("A")), (2, Message(vec![(1, Text("S"))]))])),
                (8, Message(vec![(1, Text("A"))])),
            ],
            "bad_key",
        ),
        ("fees.-3", vec![(18, Message(vec![(1, Varint(-3_i64 as u64)), (2, Varint(8))]))], "[\"8\"]"),
        ("fees.0", vec![(18, Message(vec![(2, Varint(8))]))], "[\"8\"]"),
        ("fees.5", vec![(18, Message(vec![(1, Varint(5))]))], "[\"0\"]"),
        ("fees.05", vec![(18, Message(vec![(1, Varint(5))]))], "missing_field"),
    ] {
        assert_eq!(key(field(path), &fields), expected, "{path} {fields:?}");
    }
}

#[test]
fn numbers_are_read_as_the_same_json_numbers() {
    let price = |price: OracleField| OracleMapping { price: Some(price), ..by(or("note", "A")) };
    for (mapping, fields, expected) in [
        (price(field("price")), vec![(12, Double(19.99))], "2 19.990000 39.980000"),
        (price(field("price")), vec![(12, Double(0.000_000_5))], "2 0.000000 0.000000"),
        (price(scaled("price", 2)), vec![(12, Double(1999.0))], "2 19.990000 39.980000"),
        (price(field("price")), vec![(12, Double(1e300))], "bad_price"),
        (price(field("price")), vec![(12, Double(f64::NAN))], "bad_price"),
        (price(field("large")), vec![(17, Varint(u64::MAX))], "bad_price"),
        (price(scaled("large", 9)), vec![(17, Varint(u64::MAX))], "2 18446744073.709552 36893488147.419104"),
        (price(field("kind")), vec![(14, Varint(5))], "2 5.000000 10.000000"),
        (price(field("kind")), vec![(14, Varint(0))], "bad_price"),
        (price(field("paid")), vec![(20, Varint(1))], "bad_price"),
        (price(field("at")), vec![(4, Message(vec![]))], "bad_price"),
        (price(OracleField { is_text: true, ..field("note") }), vec![(11, Text("2.5"))], "2 2.500000 5.000000"),
        (price(field("note")), vec![(11, Text("2.5"))], "bad_price"),
        (
            OracleMapping { quantity: field("price"), ..by(or("note", "A")) },
            vec![(12, Double(3.0))],
            "3 19.990000 59.970000",
        ),
        (OracleMapping { quantity: field("price"), ..by(or("note", "A")) }, vec![(12, Double(3.5))], "bad_quantity"),
        (OracleMapping { quantity: field("k"), ..by(or("note", "A")) }, vec![], "bad_quantity"),
    ] {
        let said = fate(&mapping, &order(&fields));
        let said = said.split_once("] ").map_or(&*said, |(_, sums)| sums.trim_end_matches(" []"));
        assert_eq!(said, expected, "{fields:?}");
    }
}

#[test]
fn timestamp_message_is_the_event_time_by_any_unit() {
    let at =
        |unit: &str, path: &str| OracleMapping { timestamp: field(path), unit: unit.to_owned(), ..by(or("note", "A")) };
    let timestamp = |seconds: u64, nanos: u64| vec![(4, Message(vec![(1, Varint(seconds)), (2, Varint(nanos))]))];
    let later = |seconds: u64| format!("applied {} [\"A\"] 2 19.990000 39.980000 []", TIME + seconds);
    let asked = |mapping: &OracleMapping, fields: &[(u32, Wire)]| {
        let mut judges = Judges::new(mapping, &[Schema::new(ORDER)]);
        judges.ask(&framed(1, &[0], &order(fields)))
    };
    for unit in ["RFC3339", "Seconds", "Nanoseconds"] {
        assert_eq!(asked(&at(unit, "at"), &timestamp(TIME + 300, 0)), later(300));
        assert_eq!(asked(&at(unit, "at"), &timestamp(TIME + 599, 999_999_999)), later(300));
        assert_eq!(asked(&at(unit, "at"), &[timestamp(9, 0), timestamp(TIME, 7)].concat()), later(0), "merged");
        for (seconds, nanos) in
            [(TIME, 1_000_000_000), (TIME, u64::MAX), (u64::MAX, 0), (1 << 62, 0), (253_402_300_800, 0)]
        {
            assert_eq!(asked(&at(unit, "at"), &timestamp(seconds, nanos)), "bad_timestamp", "{seconds} {nanos}");
        }
        assert_eq!(asked(&at(unit, "at"), &[]), "missing_field");
        assert_eq!(asked(&at(unit, "store"), &[(5, Message(vec![]))]), "bad_timestamp");
    }
    // Its parts are fields as well.
    assert_eq!(asked(&at("Seconds", "at.seconds"), &timestamp(TIME + 300, 0)), later(300));
    assert_eq!(asked(&at("Milliseconds", "millis"), &[(21, Varint(1000 * TIME))]), later(0));
    let both = |condition: &str| OracleMapping { condition: Some(condition.to_owned()), ..at("RFC3339", "at") };
    assert_eq!(asked(&both("at.nanos == 7 && has(at.seconds)"), &timestamp(TIME, 7)), later(0));
    assert_eq!(asked(&both("at.nanos == 7"), &timestamp(TIME, 8)), "filtered");
    assert_eq!(asked(&both("at > 0"), &timestamp(TIME, 7)), "filtered", "it is an object");
    // A later message of a type that the path passes does not change it.
    assert_eq!(
        asked(&both("store.id == 'S'"), &[timestamp(TIME, 7), vec![(5, Message(vec![(1, Text("S"))]))]].concat()),
        later(0)
    );
}

#[test]
fn elements_can_be_anywhere_in_the_record() {
    let exploded = |path: &str| OracleMapping {
        dimensions: vec![field("$.k"), or("k", "none")],
        explode: Some(path.to_owned()),
        ..mapping(&[], "q", scaled("cents", 2))
    };
    let line =
        |key: &'static str, quantity: u64| Message(vec![(1, Text(key)), (2, Varint(quantity)), (3, Varint(1999))]);
    let one = r#"["A", "X"] 1 19.990000 19.990000 []"#;
    let two = format!(r#"{one} {TIME} ["A", "Y"] 2 19.990000 39.980000 []"#);
    let lines = |fields: &[(u32, Wire)]| fate(&exploded("lines"), &message(fields));
    assert_eq!(lines(&[(9, line("X", 1)), (1, Text("A")), (9, line("Y", 2)), (1, Text("A"))]), two);
    assert_eq!(lines(&[(1, Text("A"))]), "bad_items");
    assert_eq!(lines(&[(1, Text("A")), (9, Varint(1))]), "bad_items", "an unknown field");
    assert_eq!(lines(&[(1, Text("A")), (9, line("X", 1)), (9, line("Y", 0))]), "bad_quantity");
    assert_eq!(lines(&[(1, Text("A")), (9, line("X", 1)), (9, Bytes(vec![0x0a, 9]))]), "malformed_protobuf");
    assert_eq!(
        lines(&[(1, Text("A")), (9, line("X", 1)), (9, Message(vec![(1, Bytes(vec![0xff]))]))]),
        "malformed_protobuf"
    );
    // The first thousand elements are read.
    let many = |count: usize, last: Wire| {
        let mut fields = vec![(9, line("X", 1)); count];
        fields.extend([(1, Text("A")), (9, last)]);
        lines(&fields)
    };
    assert_eq!(many(999, line("X", 1)), r#"["A", "X"] 1000 19990.000000 19990.000000 []"#);
    assert_eq!(many(1000, line("X", 1)), "bad_items");
    assert_eq!(many(1000, Bytes(vec![0xff])), "bad_items");
    assert_eq!(many(999, Bytes(vec![0xff])), "malformed_protobuf");
    // The array of the member of a oneof that was set last.
    let of_b = |fields: &[(u32, Wire)]| fate(&exploded("b.lines"), &message(fields));
    let (a, b) = (Message(vec![(1, line("Z", 9))]), Message(vec![(1, line("X", 1))]));
    assert_eq!(of_b(&[(1, Text("A")), (23, a.clone()), (22, b.clone())]), "missing_field");
    assert_eq!(of_b(&[(1, Text("A")), (23, a.clone()), (22, a.clone()), (23, b.clone())]), one);
    assert_eq!(of_b(&[(1, Text("A")), (23, b.clone()), (23, Message(vec![(1, line("Y", 2))]))]), two);
    // Elements without fields, packed or not.
    let constants = OracleMapping { quantity: or("q", "1"), price: Some(or("cents", "5")), ..exploded("numbers") };
    for (numbers, expected) in [
        (vec![(10, Varint(1)), (10, Varint(2))], r#"["A", "none"] 2 10.000000 10.000000 []"#),
        (vec![(10, Bytes(vec![1, 2, 0x80, 1])), (10, Varint(1))], r#"["A", "none"] 4 20.000000 20.000000 []"#),
        (vec![(10, Bytes(vec![1, 0x80]))], "malformed_protobuf"),
        (vec![(10, Bytes(vec![1; 1001]))], "bad_items"),
        (vec![(10, Bytes(Vec::new()))], "bad_items"),
    ] {
        assert_eq!(fate(&constants, &message(&[&[(1, Text("A"))], &numbers[..]].concat())), expected, "{numbers:?}");
    }
    // Not an array.
    for path in ["stores", "k", "store", "at"] {
        let present = message(&[(5, Message(vec![])), (4, Message(vec![]))]);
        assert_eq!(fate(&exploded(path), &present), "bad_items", "{path}");
    }
    assert_eq!(fate(&exploded("store.lines"), &message(&[(5, Message(vec![]))])), "missing_field");
}

#[test]
fn entries_of_maps_have_no_index() {
    let text = "syntax = \"proto3\"; message A { map<string, int32> m = 1; message B { string k = 1; } } message C { string c = 1; }";
    let file = protox_parse::parse("a.proto", text).unwrap();
    let descriptor = STANDARD.encode(prost_reflect::prost::Message::encode_to_vec(&file));
    let constants = OracleMapping { quantity: or("q", "1"), ..mapping(&["k"], "q", or("cents", "1")) };
    for text in [text, &descriptor] {
        let mut judges = Judges::new(&constants, &[Schema::new(text)]);
        for (indexes, expected) in [
            (&[4, 0, 0][..], "applied 1735689600 [\"X\"] 1 1.000000 1.000000 []"),
            (&[4, 0, 2], "malformed_protobuf"),
            (&[2, 2], "missing_field"),
        ] {
            let record = framed(1, indexes, &message(&[(1, Text("X"))]));
            assert_eq!(judges.ask_at(&record, 1000 * TIME as i64), expected, "{indexes:?}");
        }
    }
}

#[test]
fn bodies_that_are_no_messages_are_malformed() {
    let good = order(&[(1, Text("A"))]);
    let is_malformed = |bytes: &[u8]| fate(&by(field("k")), &[&good, bytes].concat()) == "malformed_protobuf";
    let overlong = [0x80; 10];
    for bytes in [
        &[0x0a][..],
        &[0x0a, 5, b'A'],
        &[0x10],
        &[0x10, 0x80],
        &[&[0x10], &overlong[..], &[0]].concat(),
        &[&[0x10], &[0xff; 9][..], &[2]].concat(),
        &[&[0xf8, 7], &overlong[..], &[0]].concat(),
        &[0x61, 1, 2, 3, 4, 5, 6, 7],
        &[0x65, 1, 2, 3],
        &[0, 0],
        &[0x16],
        &[0x17, 0],
        &[0xf8, 0xff, 0xff, 0xff, 0xff, 0x01, 0],
        &[0x0a, 1, 0xff],
        &[0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[0x0c],
        &[0x0b],
        &[0x0b, 0x14],
    ] {
        assert!(is_malformed(bytes), "{bytes:02x?}");
    }
    // Values that the mapping does not name are passed over unseen.
    for more in [
        message(&[(11, Bytes(vec![0xff]))]),
        message(&[(5, Bytes(vec![0xff]))]),
        message(&[(8, Bytes(vec![0xff])), (9, Bytes(vec![0xff])), (10, Bytes(vec![0xff]))]),
        message(&[(1, Bytes(vec![0xff])), (1, Text("B"))]),
        [0x10, 0x82, 0x80, 0x80, 0].to_vec(),
        message(&[(500_000_000, Group(vec![(1, Group(vec![(2, Text("x"))]))]))]),
    ] {
        assert!(!is_malformed(&more), "{more:02x?}");
    }
    for (depth, expected) in [(64, false), (65, true)] {
        let groups = [vec![0x0b; depth], vec![0x0c; depth]].concat();
        assert_eq!(is_malformed(&groups), expected, "{depth}");
    }
}

#[test]
fn each_writer_is_read_by_its_own_schema() {
    let versions = [
        "int32 q = 1; int64 cents = 2; string k = 3;",
        // A field is added, and one removed.
        "reserved 3; int32 q = 1; int64 cents = 2; bool added = 9;",
        // Renamed with the same number.
        "int32 pieces = 1; int64 cents = 2; string k = 3;",
        // Wider, zigzag, or moved into a oneof.
        "int64 q = 1; sint64 cents = 2; oneof o { string k = 3; int32 n = 4; }",
        "message Inner { string k = 1; } fixed32 q = 1; double cents = 2; Inner k = 3;",
    ];
    let schemas = versions.map(|fields| Schema::new(&format!("syntax = \"proto3\"; message Order {{ {fields} }}")));
    let mapping = OracleMapping { dimensions: vec![or("k", "none")], ..mapping(&[], "q", scaled("cents", 2)) };
    let mut judges = Judges::new(&mapping, &schemas);
    let first = message(&[(1, Varint(2)), (2, Varint(1998)), (3, Text("A"))]);
    let fifth = message(&[(1, Fixed32(2)), (2, Double(1998.0)), (3, Message(vec![(1, Text("A"))]))]);
    for (version, body, expected) in [
        (1, &first, r#"["A"] 2 19.980000 39.960000 []"#),
        (2, &first, r#"["none"] 2 19.980000 39.960000 []"#),
        (3, &first, "missing_field"),
        (4, &first, r#"["A"] 2 9.990000 19.980000 []"#),
        (5, &first, "bad_quantity"),
        (5, &fifth, "bad_key"),
        (1, &fifth, "bad_quantity"),
    ] {
        let said = judges.ask_at(&framed(version, &[0], body), 1000 * TIME as i64);
        let said = said.replacen(&format!("applied {TIME} "), "", 1);
        assert_eq!(said, expected, "version {version}");
    }
}

#[test]
fn proto2_has_defaults_of_its_own() {
    let schema = r#"
        message Order {
          required int32 q = 1;
          optional int64 cents = 2 [default = 1999];
          optional string k = 3 [default = "usual"];
          optional Kind kind = 4 [default = B];
          optional string note = 5;
          optional group Place = 6 { optional string id = 1; }
          optional bytes raw = 7 [default = "\303\251"];
          enum Kind { A = 0; B = 1; }
          extensions 100 to 200;
        }
        extend Order { optional string more = 100; }"#;
    let key = |path: &str, body: &[u8]| {
        let mapping = OracleMapping { dimensions: vec![or(path, "none")], ..mapping(&[], "q", scaled("cents", 2)) };
        let mut judges = Judges::new(&mapping, &[Schema::new(schema)]);
        let said = judges.ask_at(&framed(1, &[0], body), 1000 * TIME as i64);
        said.replacen(&format!("applied {TIME} "), "", 1).replace(" 2 19.990000 39.980000 []", "")
    };
    let body = message(&[(1, Varint(2))]);
    for (path, expected) in [
        ("k", r#"["usual"]"#),
        ("kind", r#"["B"]"#),
        ("note", r#"["none"]"#),
        ("raw", r#"["é"]"#),
        ("place", r#"["none"]"#),
        ("more", r#"["none"]"#),
    ] {
        assert_eq!(key(path, &body), expected, "{path}");
    }
    assert_eq!(key("k", &[]), "missing_field");
    let group = message(&[(1, Varint(2)), (6, Group(vec![(1, Text("x"))])), (100, Text("y")), (3, Text("A"))]);
    assert_eq!(key("place.id", &group), r#"["none"]"#, "groups are not read");
    assert_eq!(key("k", &group), r#"["A"]"#);
}

#[test]
fn schemas_that_are_no_protobuf_files_are_unusable() {
    let message = |inside: &str| format!("syntax = \"proto3\"; message Order {{ {inside} }}");
    let usual = "int32 q = 1; int64 cents = 2; string k = 3;";
    let many: String = (0..1100).map(|number| format!("message M{number} {{ }}")).collect();
    let nested = format!("{} {usual} {}", "message M { ".repeat(5000), "}".repeat(5000));
    let option = format!("option (x) = {} a: 1 {};", "{ a ".repeat(50_000), "}".repeat(50_000));
    for (text, is_usable) in [
        (message(usual), true),
        (message(&format!("{usual} Unknown u = 4;")), false),
        (message(&format!("{usual} int32 q = 5;")), false),
        (message(&many), false),
        (message(&nested), false),
        (message(&format!("{usual} // {}", " ".repeat(1 << 20))), false),
        (message(usual).replacen(';', "; import \"absent.proto\";", 1), true),
        (format!("edition = \"2023\"; message Order {{ {usual} }}"), false),
        (String::new(), false),
        ("{\"type\": \"record\"}".to_owned(), false),
        ("AAAA".to_owned(), false),
        ("CgVhLmJjZA==".to_owned(), false),
        ("\u{0}\u{1}\u{2}".to_owned(), false),
        (option, false),
    ] {
        let mut judges = Judges::new(&mapping(&["k"], "q", field("cents")), &[Schema::new(&text)]);
        let said = judges.ask_at(&framed(1, &[0], &[0x1a, 1, b'A', 0x08, 1]), 1000 * TIME as i64);
        let head = &text[..text.len().min(100)];
        assert_eq!(said.starts_with("applied"), is_usable, "{said}: {head}");
        assert!(is_usable || said == "unusable_schema", "{said}: {head}");
    }
    // A schema in another language.
    let mut engine = Engine::with_mapping(rules(), true, &engines_mapping(&mapping(&["k"], "q", field("cents"))));
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let schema = SchemaText { kind: SchemaKind::Json, text: message(usual), references: Vec::new() };
    engine.learn_schema(SchemaId::Number(1), Some(&schema));
    let record = Record { offset: 0, timestamp: None, value: Some(&framed(1, &[0], &[])), schema: None };
    assert_eq!(engine.partition(0).unwrap().record(&record).unwrap().reason(), "unusable_schema");
}

fn rules() -> Rules {
    let hour = Span::from_secs(3600);
    Rules { window: Span::from_secs(300), delay: hour, max_future: hour }
}

#[test]
fn protobuf_records_do_not_allocate() {
    let mapping = OracleMapping {
        timestamp: field("at"),
        unit: "RFC3339".to_owned(),
        dimensions: vec![field("$.store.id"), field("$.kind"), field("$.stores.A.id"), field("k")],
        id: Some("large".to_owned()),
        condition: Some("kind == 'SALE' && price < 20.5 && large > 5".to_owned()),
        explode: Some("lines".to_owned()),
        ..mapping(&[], "q", scaled("cents", 2))
    };
    let record = |number: u64| {
        let line = Message(vec![(1, Text("X")), (2, Varint(1 + number % 7)), (3, Varint(1999))]);
        let store = Message(vec![(1, Text("a store with a name"))]);
        let body = message(&[
            (9, line.clone()),
            (4, Message(vec![(1, Varint(TIME + number % 200)), (2, Varint(5))])),
            (5, store.clone()),
            (8, Message(vec![(1, Text("A")), (2, store)])),
            (12, Double(19.99)),
            (17, Varint(1 << 40 | number)),
            (99, Text("unknown")),
            (9, line),
        ]);
        framed(1, &[0], &body)
    };
    let mut engine = Engine::with_mapping(rules(), false, &engines_mapping(&mapping));
    engine.learn_schema(SchemaId::Number(1), Some(&Schema::new(ORDER).engines()));
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let values: Vec<Vec<u8>> = (0..1000).map(record).collect();
    let mut offsets = 0..;
    let timestamp = Some(Timestamp::from_secs(TIME as i64 + 300));
    let mut judge = || {
        let mut feed = engine.partition(0).unwrap();
        for value in &values {
            feed.record(&Record { offset: offsets.next().unwrap(), timestamp, value: Some(value), schema: None });
        }
    };
    judge();
    assert_eq!(measure(&mut judge).count_total, 0);
    assert_eq!(engine.take_batch().partitions[0].counts.applied, 2000);
}
