//! The id of a consumer in its group.

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;

/// Whether a consumer is a member of its group, as far as it knows. librdkafka forgets the id once it has sent the request to leave.
pub fn is_member<C: ClientContext>(client: &Client<C>) -> bool {
    let client = client.native_ptr();
    // SAFETY: the client lives; the id is ours, and freed once.
    unsafe {
        let id = sys::rd_kafka_memberid(client);
        let is_member = !id.is_null() && *id != 0;
        if !id.is_null() {
            sys::rd_kafka_mem_free(client, id.cast());
        }
        is_member
    }
}
