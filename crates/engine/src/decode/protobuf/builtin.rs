//! Files that clients of registries have built in, and do not register. prost-reflect has `google/protobuf`.

/// The text of a file.
pub(super) fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "confluent/type/decimal.proto" => {
            r#"syntax = "proto3"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }"#
        }
        "google/type/date.proto" => {
            r#"syntax = "proto3"; package google.type; message Date { int32 year = 1; int32 month = 2; int32 day = 3; }"#
        }
        "google/type/decimal.proto" => {
            r#"syntax = "proto3"; package google.type; message Decimal { string value = 1; }"#
        }
        "google/type/latlng.proto" => {
            r#"syntax = "proto3"; package google.type; message LatLng { double latitude = 1; double longitude = 2; }"#
        }
        "google/type/money.proto" => {
            r#"syntax = "proto3"; package google.type; message Money { string currency_code = 1; int64 units = 2; int32 nanos = 3; }"#
        }
        "google/type/timeofday.proto" => {
            r#"syntax = "proto3"; package google.type; message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }"#
        }
        _ => return None,
    })
}
