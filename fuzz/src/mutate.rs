//! Changes encoded messages as messages: a field is set, removed or repeated, and everything around it stays valid.
//!
//! libFuzzer alone changes bytes. That finds what decoders do with bytes that are no message, and this does as well, but few of
//! its changes leave the lengths right that get an input past the decoder.

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

use crate::{
    random::Random,
    service,
    setup::{CUSTOMER, MOVIE},
};

/// A method of the contract.
#[derive(Debug)]
pub struct Method {
    /// The path of its requests.
    pub path: String,
    /// `SERVICE/METHOD`, as inputs begin.
    name: String,
    input: MessageDescriptor,
}

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(boxoffice::pb::DESCRIPTORS).expect("the descriptors are valid");
    let services = pool.services().filter(|service| service.package_name() == "boxoffice.v1");
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    let method = |method: prost_reflect::MethodDescriptor| {
        let name = format!("{}/{}", method.parent_service().name(), method.name());
        Method { path: format!("/boxoffice.v1.{name}"), name, input: method.input() }
    };
    methods.map(method).collect()
});

/// Texts that mean something in some field.
const TEXTS: [&str; 28] = [
    "",
    "A",
    "D",
    "AA",
    "ZZZZ",
    CUSTOMER,
    MOVIE,
    "EUR",
    "JPY",
    "XXX",
    "Grand",
    "in",
    "Europe/Madrid",
    "UTC",
    "cash",
    "2027-02-28",
    "2028-02-29",
    "2027-13-01",
    "ss_sa.c",
    "ac",
    "4111 1111 1111 1111",
    "%",
    "'",
    "\0",
    "\u{202e}",
    "e\u{301}",
    "00000000-0000-0000-0000-000000000000",
    "01234567-89ab-7def-8123-456789abcdef",
];
/// Numbers at the edges of what fields may have.
const NUMBERS: [i64; 22] = [
    0,
    1,
    2,
    3,
    7,
    8,
    10,
    50,
    60,
    99,
    100,
    101,
    200,
    999,
    1_000,
    7_200,
    86_400,
    999_999_999,
    1_000_000_000,
    253_402_300_799,
    -62_135_596_800,
    i64::MAX,
];
/// Seconds from 2026 to 2032, in which showtimes can start.
const SOON: std::ops::Range<u64> = 1_796_000_000..1_970_000_000;
/// The most elements that one change adds to a list.
const BURST: u64 = 110;

/// Reads an input: the method, and the encoded message.
#[must_use]
pub fn read(input: &[u8]) -> Option<(&'static Method, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let method = METHODS.iter().find(|method| method.name.as_bytes() == &input[..end])?;
    Some((method, &input[end + 1..]))
}

/// Changes the input in place, and returns its new length.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random::new(seed);
    let known = read(&data[..size]).filter(|_| !random.one_in(50));
    let (method, message) = match known {
        Some((method, message)) => (method, message.to_vec()),
        None => (random.pick(&METHODS), Vec::new()),
    };
    let room = max_size.saturating_sub(method.name.len() + 1);
    let changed =
        if random.one_in(4) { changed_bytes(message, room) } else { changed_message(method, &message, &mut random) };
    let input = [method.name.as_bytes(), b"\n", &changed[..changed.len().min(room)]].concat();
    let length = input.len().min(max_size);
    data[..length].copy_from_slice(&input[..length]);
    length
}

fn changed_bytes(mut message: Vec<u8>, room: usize) -> Vec<u8> {
    let length = message.len().min(room);
    message.resize(room, 0);
    let length = libfuzzer_sys::fuzzer_mutate(&mut message, length, room);
    message.truncate(length);
    message
}

fn changed_message(method: &Method, message: &[u8], random: &mut Random) -> Vec<u8> {
    let empty = || DynamicMessage::new(method.input.clone());
    let mut message = DynamicMessage::decode(method.input.clone(), message).unwrap_or_else(|_| empty());
    for _ in 0..=random.below(3) {
        change(&mut message, random);
    }
    prost::Message::encode_to_vec(&message)
}

/// Changes one field, here or in a message inside.
fn change(message: &mut DynamicMessage, random: &mut Random) {
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    if fields.is_empty() {
        return;
    }
    let field = random.pick(&fields);
    if random.one_in(8) {
        message.clear_field(field);
        return;
    }
    let mut value = message.get_field(field).into_owned();
    match &mut value {
        Value::List(list) => change_list(list, field, random),
        one => change_value(one, &field.kind(), random),
    }
    message.set_field(field, value);
}

fn change_list(list: &mut Vec<Value>, field: &FieldDescriptor, random: &mut Random) {
    let length = list.len() as u64;
    match random.below(4) {
        0 if length > 0 => drop(list.remove(random.below(length) as usize)),
        1 if length > 0 => change_value(&mut list[random.below(length) as usize], &field.kind(), random),
        2 if random.one_in(8) => {
            let mut value = Value::default_value(&field.kind());
            for _ in 0..random.below(BURST) {
                change_value(&mut value, &field.kind(), random);
                list.push(value.clone());
            }
        }
        _ => {
            let mut value = list.last().cloned().unwrap_or_else(|| Value::default_value(&field.kind()));
            change_value(&mut value, &field.kind(), random);
            list.push(value);
        }
    }
}

fn change_value(value: &mut Value, kind: &Kind, random: &mut Random) {
    match value {
        Value::Message(inner) => {
            // Money, times and rows mean little with one field alone.
            for _ in 0..=random.below(4) {
                change(inner, random);
            }
        }
        Value::String(text) => *text = changed_text(text, random),
        Value::Bool(flag) => *flag = !*flag,
        Value::EnumNumber(number) => *number = random.below(10) as i32 - 1,
        Value::I32(number) => *number = changed_number(i64::from(*number), random) as i32,
        Value::I64(number) => *number = changed_number(*number, random),
        other => panic!("add a change of {kind:?} here, such as {other:?}"),
    }
}

fn changed_number(number: i64, random: &mut Random) -> i64 {
    match random.below(6) {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        2 => number.wrapping_neg(),
        3 => random.next() as i64 >> random.below(64),
        4 => (SOON.start + random.below(SOON.end - SOON.start)) as i64,
        _ => *random.pick(&NUMBERS),
    }
}

fn changed_text(text: &str, random: &mut Random) -> String {
    match random.below(8) {
        0..=2 => random.pick(service::placeholders()).clone(),
        3..=4 => (*random.pick(&TEXTS)).to_owned(),
        5 => text.repeat(2 + random.below(3) as usize),
        6 => {
            let length = 1 + random.below(12);
            (0..length).map(|_| *random.pick(b"sac_.sssss") as char).collect()
        }
        _ => String::from_utf8_lossy(&changed_bytes(text.into(), 2 * text.len() + 16)).into_owned(),
    }
}
