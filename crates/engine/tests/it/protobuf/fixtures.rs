//! Records written by confluent-kafka's ProtobufSerializer, and its schemas as it registers them.
//!
//! Made by confluent-kafka 2.16.1 with protobuf 7.36.2: a `SchemaRegistryClient` with the URL `mock://fixtures`, and
//! `ProtobufSerializer(Sale, registry, {"use.deprecated.format": False})` on the messages of [`SALE`], compiled by grpc_tools.protoc.
//! [`SCHEMA`] and [`STORE_SCHEMA`] are what the registry then has.

use super::judges::{Judges, Schema, field, framed, mapping, or, scaled};
use retail_oracle::OracleMapping;

const SALE: &str = r#"syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "store.proto";
message Audit { string by = 1; message Entry { int32 at = 1; } }
enum Channel { CHANNEL_UNSPECIFIED = 0; WEB = 1; APP = 2; }
message Sale {
  string sale_id = 1;
  google.protobuf.Timestamp sold_at = 2;
  Store store = 3;
  Channel channel = 4;
  sint32 quantity = 5;
  double price = 6;
  google.protobuf.StringValue coupon = 7;
  map<string, int64> fees = 8;
  oneof paid { string card = 9; string cash = 10; }
  repeated string tags = 11;
  message Line { string sku = 1; fixed32 pieces = 2; int64 cents = 3; }
  repeated Line lines = 20;
}
"#;

const STORE: &str = r#"syntax = "proto3";
package shop;
message Store { string id = 1; optional string city = 2; }
"#;

const SCHEMA: &str = "CgpzYWxlLnByb3RvEgRzaG9wGh9nb29nbGUvcHJvdG9idWYvdGltZXN0YW1wLnByb3RvGh5nb29nbGUvcHJvdG9idWYvd3JhcHBl\
    cnMucHJvdG8aC3N0b3JlLnByb3RvIigKBUF1ZGl0EgoKAmJ5GAEgASgJGhMKBUVudHJ5EgoKAmF0GAEgASgFIqoDCgRTYWxlEg8K\
    B3NhbGVfaWQYASABKAkSKwoHc29sZF9hdBgCIAEoCzIaLmdvb2dsZS5wcm90b2J1Zi5UaW1lc3RhbXASGgoFc3RvcmUYAyABKAsy\
    Cy5zaG9wLlN0b3JlEh4KB2NoYW5uZWwYBCABKA4yDS5zaG9wLkNoYW5uZWwSEAoIcXVhbnRpdHkYBSABKBESDQoFcHJpY2UYBiAB\
    KAESLAoGY291cG9uGAcgASgLMhwuZ29vZ2xlLnByb3RvYnVmLlN0cmluZ1ZhbHVlEiIKBGZlZXMYCCADKAsyFC5zaG9wLlNhbGUu\
    RmVlc0VudHJ5Eg4KBGNhcmQYCSABKAlIABIOCgRjYXNoGAogASgJSAASDAoEdGFncxgLIAMoCRIeCgVsaW5lcxgUIAMoCzIPLnNo\
    b3AuU2FsZS5MaW5lGisKCUZlZXNFbnRyeRILCgNrZXkYASABKAkSDQoFdmFsdWUYAiABKAM6AjgBGjIKBExpbmUSCwoDc2t1GAEg\
    ASgJEg4KBnBpZWNlcxgCIAEoBxINCgVjZW50cxgDIAEoA0IGCgRwYWlkKjQKB0NoYW5uZWwSFwoTQ0hBTk5FTF9VTlNQRUNJRklF\
    RBAAEgcKA1dFQhABEgcKA0FQUBACYgZwcm90bzM=";

const STORE_SCHEMA: &str = "CgtzdG9yZS5wcm90bxIEc2hvcCIvCgVTdG9yZRIKCgJpZBgBIAEoCRIRCgRjaXR5GAIgASgJSACIAQFCBwoFX2NpdHliBnByb3Rv\
    Mw==";

/// Three sales: without a coupon, with all fields, and with other members of its oneof.
const SALES: [&str; 3] = [
    "000000000202020a03732d30120b08808bd2bb061080e59a771a040a0253372802313d0ad7a370fd3340a2010e0a04534b55\
    30150100000018cf0f",
    "000000000202020a03732d31120b08808bd2bb0610c0e9d7771a0d0a0253371207c581c3b364c5ba20012804313d0ad7a370\
    fd33403a080a0653415645313042110a047368697010fbffffffffffffffff014a0476697361a2010e0a04534b5530150100\
    000018cf0fa2010e0a04534b5531150200000018cf0f",
    "000000000202020a03732d32120b08808bd2bb061080ee94781a040a02533720022806313d0ad7a370fd334052037965735a\
    01615a0162a2010e0a04534b5530150100000018cf0fa2010e0a04534b5531150200000018cf0fa2010e0a04534b55321503\
    00000018cf0f",
];

/// `Audit(by="me")`, the first message of the file, and `Audit.Entry(at=3)`, which is nested in it.
const AUDIT: &str = "0000000003000a026d65";
const ENTRY: &str = "00000000040400000803";

fn schema(text: &str, store: &str) -> Schema {
    Schema { references: vec![("store.proto".to_owned(), store.to_owned())], ..Schema::new(text) }
}

/// The bytes of a record, with the id of its schema set to 1.
fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let mut bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
    bytes[4] = 1;
    bytes
}

fn sales() -> OracleMapping {
    OracleMapping {
        timestamp: field("sold_at"),
        unit: "RFC3339".to_owned(),
        id: Some("sale_id".to_owned()),
        dimensions: vec![field("store.id"), or("store.city", "none"), or("coupon", "no coupon"), field("channel")],
        sums: vec![or("fees.ship", "0")],
        ..mapping(&[], "quantity", field("price"))
    }
}

fn exploded() -> OracleMapping {
    OracleMapping {
        dimensions: vec![field("$.store.id"), field("sku")],
        explode: Some("lines".to_owned()),
        sums: Vec::new(),
        id: None,
        ..OracleMapping { price: Some(scaled("cents", 2)), quantity: field("pieces"), ..sales() }
    }
}

#[test]
fn records_of_confluent_kafka_are_read_by_text_and_by_descriptor() {
    for schema in [schema(SCHEMA, STORE_SCHEMA), schema(SALE, STORE), schema(SALE, STORE_SCHEMA)] {
        let mut judges = Judges::new(&sales(), std::slice::from_ref(&schema));
        let [first, second, third] = SALES.map(|sale| judges.ask(&bytes(sale)));
        let at = "applied 1735689600";
        let channel = "CHANNEL_UNSPECIFIED";
        assert_eq!(
            first,
            format!(r#"{at} ["S7", "none", "no coupon", "{channel}"] 1 19.990000 19.990000 ["0.000000"]"#)
        );
        assert_eq!(second, format!(r#"{at} ["S7", "Łódź", "SAVE10", "WEB"] 2 19.990000 39.980000 ["-5.000000"]"#));
        assert_eq!(third, format!(r#"{at} ["S7", "none", "no coupon", "APP"] 3 19.990000 59.970000 ["0.000000"]"#));

        let mut judges = Judges::new(&exploded(), &[schema]);
        let line = |number: i64| {
            let cents = number * 1999;
            let amount = format!("{}.{:02}0000", cents / 100, cents % 100);
            format!(r#" 1735689600 ["S7", "SKU{}"] {number} 19.990000 {amount} []"#, number - 1)
        };
        for (lines, sale) in (1..).zip(SALES) {
            assert_eq!(judges.ask(&bytes(sale)), format!("applied{}", (1..=lines).map(line).collect::<String>()));
        }
    }
}

#[test]
fn message_indexes_choose_the_message() {
    let schema = [schema(SCHEMA, STORE_SCHEMA)];
    let mapping = OracleMapping {
        dimensions: vec![or("by", "entry"), or("sale_id", "no sale")],
        ..mapping(&[], "at", or("price", "2"))
    };
    let mut judges = Judges::new(&OracleMapping { quantity: or("at", "1"), ..mapping }, &schema);
    let row = |key: &str, quantity: u32| {
        format!(r#"applied 253402300500 ["{key}", "no sale"] {quantity} 2.000000 {}.000000 []"#, 2 * quantity)
    };
    assert_eq!(judges.ask_at(&bytes(AUDIT), 253_402_300_799_000), row("me", 1));
    assert_eq!(judges.ask_at(&bytes(ENTRY), 253_402_300_799_000), row("entry", 3));
    for indexes in [&[2, 8][..], &[6, 0, 0, 0], &[4, 2, 4], &[4, 0], &[]] {
        assert_eq!(judges.ask(&framed(1, indexes, &[])), "malformed_protobuf", "{indexes:?}");
    }
}
