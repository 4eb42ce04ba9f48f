//! The id of a topic, which tells a topic from one of the same name that was made after it was deleted. rdkafka has no call for
//! it, so this is the one place that uses librdkafka's C interface.
#![allow(unsafe_code)]

use crate::{ClientError, Trouble};
use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::{ClientContext, error::RDKafkaErrorCode};
use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;
use std::time::Duration;

/// Asks for the 16 bytes of the topic's id. Blocks up to `timeout`.
pub(crate) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<[u8; 16], ClientError> {
    let call = format!("id of topic {topic}");
    let name = CString::new(topic)
        .map_err(|_| ClientError::new(&call, Trouble::Refused, "a topic's name holds no NUL; mend it"))?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut names = [name.as_ptr().cast_mut().cast::<c_char>().cast_const()];
    // SAFETY: the client outlives this call; every object made here is destroyed exactly once below, after its last use;
    // `names` outlives the collection, which copies them. Results are read before their event is destroyed.
    unsafe {
        let native = client.native_ptr();
        let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let queue = c::rd_kafka_queue_new(native);
        let options = c::rd_kafka_AdminOptions_new(native, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        c::rd_kafka_AdminOptions_set_request_timeout(options, millis, null_mut(), 0);
        c::rd_kafka_DescribeTopics(native, topics, options, queue);
        // A second more than the request's own limit, so that its answer, also "timed out", always arrives here.
        let event = c::rd_kafka_queue_poll(queue, millis.saturating_add(1000));
        let id = read(&call, event);
        if !event.is_null() {
            c::rd_kafka_event_destroy(event);
        }
        c::rd_kafka_AdminOptions_destroy(options);
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_TopicCollection_destroy(topics);
        id
    }
}

/// # Safety
/// `event` is null, or an event that nobody has destroyed.
unsafe fn read(call: &str, event: *mut c::rd_kafka_event_t) -> Result<[u8; 16], ClientError> {
    let unanswered = |reason: &str| Err(ClientError::new(call, Trouble::Unavailable, reason));
    if event.is_null() {
        return unanswered("no broker answered in time");
    }
    // SAFETY: `event` is alive; everything read from it belongs to it and is not kept.
    unsafe {
        if c::rd_kafka_event_error(event) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let words = CStr::from_ptr(c::rd_kafka_event_error_string(event));
            return unanswered(&words.to_string_lossy());
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return unanswered("the answer is about something else");
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count == 0 || topics.is_null() {
            return unanswered("the answer is empty");
        }
        let topic = *topics;
        let error = c::rd_kafka_TopicDescription_error(topic);
        let code = RDKafkaErrorCode::from(c::rd_kafka_error_code(error));
        if code != RDKafkaErrorCode::NoError {
            return Err(ClientError::of(call, &rdkafka::error::KafkaError::AdminOp(code)));
        }
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&c::rd_kafka_Uuid_most_significant_bits(id).to_be_bytes());
        bytes[8..].copy_from_slice(&c::rd_kafka_Uuid_least_significant_bits(id).to_be_bytes());
        Ok(bytes)
    }
}
