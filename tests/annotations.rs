//! The `buf.validate` annotations of the contract and the conversions that enforce them agree: for every rule of every
//! field, a valid request is changed so that it breaks that rule, sent, and refused with a violation of that field.

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{
    Server, Store, World,
    contract::{good_request, good_request_with, methods, path, pool},
    raw,
    refusals::violations,
    request_id,
};

/// Fields without a rule of their own. A new field needs a rule or an entry here.
const WITHOUT_RULE: [&str; 39] = [
    "CancelShowtimeRequest.force",
    "ConfirmReservationRequest.late",
    "ConfirmReservationRequest.tender",
    "ContinuePurchaseRequest.payment",
    "CreateShowtimeRequest.price",
    "CreateShowtimeRequest.price.currency_code",
    "CreateShowtimeRequest.price.nanos",
    "CreateShowtimeRequest.price.units",
    "CreateShowtimeRequest.price_list",
    "CreateShowtimeRequest.price_list.fee",
    "CreateShowtimeRequest.price_list.fee.currency_code",
    "CreateShowtimeRequest.price_list.fee.nanos",
    "CreateShowtimeRequest.price_list.fee.units",
    "CreateShowtimeRequest.price_list.supplements[0].amount.currency_code",
    "CreateShowtimeRequest.price_list.supplements[0].amount.nanos",
    "CreateShowtimeRequest.price_list.supplements[0].amount.units",
    "CreateShowtimeRequest.price_list.ticket_types[0].price.currency_code",
    "CreateShowtimeRequest.price_list.ticket_types[0].price.nanos",
    "CreateShowtimeRequest.price_list.ticket_types[0].price.units",
    "GetOccupancyRequest.include_cancelled",
    "GetSeatMapRequest.include_seats",
    "GetShowtimeRequest.include_sales",
    "ListDeadLettersRequest.dead_only",
    "ListReservationsRequest.created_after",
    "ListReservationsRequest.created_before",
    "ListReservationsRequest.refund_due",
    "ListShowtimesRequest.include_cancelled",
    "ListShowtimesRequest.start_after",
    "ListShowtimesRequest.start_before",
    "RefundPaymentRequest.amount",
    "RefundPaymentRequest.amount.currency_code",
    "RefundPaymentRequest.amount.nanos",
    "RefundPaymentRequest.amount.units",
    "RefundPaymentRequest.force",
    "ReserveSeatsRequest.accessible",
    "ReserveSeatsRequest.from_block",
    "ReserveSeatsRequest.validate_only",
    "RetireSigningKeyRequest.force",
    "SubscribeEventsRequest.from_now",
];

/// Fields that may be empty only if the request's metadata have the same, `idempotency-key`.
const OR_IN_METADATA: [&str; 2] = ["PurchaseTicketsRequest.request_id", "RefundPaymentRequest.request_id"];

/// One way of breaking one rule.
struct Breach {
    rule: String,
    /// The new value of the field. `None` clears it.
    value: Option<Value>,
    /// The rest of the path of the violation after the field: `[0]` for the first item.
    below: &'static str,
}

/// A field of a request with its path and its rules.
struct Site {
    /// The fields from the request down to this one. The number picks an item of a list.
    steps: Vec<(FieldDescriptor, Option<usize>)>,
    field: FieldDescriptor,
    rules: Option<DynamicMessage>,
}

impl Site {
    /// Returns the path of the field, such as `layout.rows[0].label`.
    fn path(&self) -> String {
        let step = |(field, index): &(FieldDescriptor, Option<usize>)| match index {
            Some(index) => format!("{}[{index}].", field.name()),
            None => format!("{}.", field.name()),
        };
        self.steps.iter().map(step).collect::<String>() + self.field.name()
    }

    /// Sets the field of the request to another value.
    fn replace(&self, request: &mut DynamicMessage, value: Option<Value>) {
        let mut message = request;
        for (field, index) in &self.steps {
            let inner = message.get_field_mut(field);
            let inner = match index {
                Some(index) => inner.as_list_mut().and_then(|list| list.get_mut(*index)).expect("an item"),
                None => inner,
            };
            message = inner.as_message_mut().expect("a message");
        }
        match value {
            Some(value) => message.set_field(&self.field, value),
            None => message.clear_field(&self.field),
        }
    }

    /// The value of the field in the request.
    fn value(&self, request: &DynamicMessage) -> Value {
        let mut message = request.clone();
        for (field, index) in &self.steps {
            let inner = message.get_field(field).into_owned();
            let inner = match index {
                Some(index) => inner.as_list().and_then(|list| list.get(*index)).expect("an item").clone(),
                None => inner,
            };
            message = inner.as_message().expect("a message").clone();
        }
        message.get_field(&self.field).into_owned()
    }
}

#[tokio::test]
async fn the_conversions_enforce_every_annotation_by_field() {
    let world = World::start(Store::Sqlite).await;
    let pool = pool();
    let mut broken = 0;
    for method in methods(&pool) {
        let request = good_request(&method.input());
        assert_eq!(violated(&world, &path(&method), &request).await, Vec::<String>::new(), "{}", method.full_name());
        for fields in alternatives(&pool, &method.input()) {
            for set in [false, true] {
                let found = violated(&world, &path(&method), &with_all(&request, &fields, set)).await;
                let is_violated = |field: &FieldDescriptor| found.iter().any(|found| found == field.name());
                assert!(fields.iter().all(is_violated), "{}: {found:?}", method.full_name());
                broken += 1;
            }
        }
        for site in sites(&pool, &method.input(), &[]) {
            let field = site.steps.first().map_or(&site.field, |(field, _)| field);
            let request = good_request_with(&method.input(), field.name());
            for Breach { rule, value, below } in breaches(&site, &request) {
                let mut changed = request.clone();
                site.replace(&mut changed, value);
                let expected = site.path() + below;
                let found = violated(&world, &path(&method), &changed).await;
                assert!(
                    found.contains(&expected),
                    "{} {expected}: {rule} is not enforced: {found:?}",
                    method.full_name()
                );
                broken += 1;
            }
            let name = format!("{}.{}", method.input().name(), site.path());
            if optional(&site) && !OR_IN_METADATA.contains(&name.as_str()) {
                let mut without = request.clone();
                site.replace(&mut without, None);
                let found = violated(&world, &path(&method), &without).await;
                assert!(!found.contains(&site.path()), "{} {} may be left out", method.full_name(), site.path());
            }
        }
    }
    assert!(broken > 50, "only {broken} breaches were tried");
}

#[test]
fn every_request_field_has_a_rule_or_is_listed_without_one() {
    let pool = pool();
    let mut without_rule = Vec::new();
    for method in methods(&pool) {
        let request = method.input();
        for site in sites(&pool, &request, &[]).into_iter().filter(|site| site.rules.is_none()) {
            without_rule.push(format!("{}.{}", request.name(), site.path()));
        }
    }
    without_rule.sort();
    assert_eq!(without_rule, WITHOUT_RULE);
}

/// Returns the groups of fields of a message of which exactly one must be set.
fn alternatives(pool: &DescriptorPool, message: &MessageDescriptor) -> Vec<Vec<FieldDescriptor>> {
    let extension = pool.get_extension_by_name("buf.validate.message").expect("the rules are in the descriptors");
    let options = message.options();
    if !options.has_extension(&extension) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (name, value) in rules_of(options.get_extension(&extension).as_message().expect("rules are a message")) {
        assert_eq!(name, "oneof", "{}: this test does not know that rule", message.name());
        for rule in value.as_list().expect("a list of rules") {
            let rule = rules_of(rule.as_message().expect("a rule is a message"));
            let part = |part: &str| rule.iter().find(|(name, _)| name == part).map(|(_, value)| value.clone());
            assert_eq!(part("required"), Some(Value::Bool(true)), "{}", message.name());
            let names = part("fields").expect("its fields");
            let field = |name: &Value| message.get_field_by_name(name.as_str()?);
            found.push(names.as_list().expect("a list").iter().map(|name| field(name).expect("a field")).collect());
        }
    }
    found
}

/// Returns the request with all of these fields set, or with none.
fn with_all(request: &DynamicMessage, fields: &[FieldDescriptor], set: bool) -> DynamicMessage {
    let mut changed = request.clone();
    for field in fields {
        if !set {
            changed.clear_field(field);
        } else if !changed.has_field(field) {
            let any = match field.kind() {
                Kind::Int32 => Value::I32(1),
                Kind::String => Value::String(request_id()),
                _ => Value::default_value_for_field(field),
            };
            changed.set_field(field, any);
        }
    }
    changed
}

/// Sends a request, and returns the paths of all violations.
async fn violated(server: &Server, path: &str, request: &DynamicMessage) -> Vec<String> {
    let bytes = prost::Message::encode_to_vec(request);
    match raw::call(server.channel(), path, bytes).await {
        // No rule of the contract says which tokens are genuine.
        Err(status) if status.get_details_error_info().is_some_and(|info| info.reason == "TOKEN_MALFORMED") => vec![],
        Err(status) if status.code() == Code::InvalidArgument => {
            violations(&status).into_iter().map(|(field, _)| field).collect()
        }
        Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => vec![],
        Err(status) => panic!("{path} {request}: {status:?}"),
        Ok(_) => vec![],
    }
}

/// Returns every field of a message and of the messages inside it. Of a list, only the first item is used.
fn sites(pool: &DescriptorPool, message: &MessageDescriptor, steps: &[(FieldDescriptor, Option<usize>)]) -> Vec<Site> {
    let extension = pool.get_extension_by_name("buf.validate.field").expect("the rules are in the descriptors");
    let mut sites = Vec::new();
    for field in message.fields() {
        let options = field.options();
        let rules = options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned());
        let rules = rules.map(|rules| rules.as_message().expect("rules are a message").clone());
        let mut inside = Vec::new();
        if let Kind::Message(inner) = field.kind()
            && !inner.full_name().starts_with("google.protobuf.")
        {
            let index = field.is_list().then_some(0);
            inside = sites_below(pool, &inner, steps, &field, index);
        }
        sites.push(Site { steps: steps.to_vec(), field, rules });
        sites.append(&mut inside);
    }
    sites
}

fn sites_below(
    pool: &DescriptorPool,
    inner: &MessageDescriptor,
    steps: &[(FieldDescriptor, Option<usize>)],
    field: &FieldDescriptor,
    index: Option<usize>,
) -> Vec<Site> {
    sites(pool, inner, &[steps, &[(field.clone(), index)]].concat())
}

/// Returns the rules that are set, by name.
fn rules_of(rules: &DynamicMessage) -> Vec<(String, Value)> {
    rules.fields().map(|(field, value)| (field.name().to_owned(), value.clone())).collect()
}

/// Whether the contract allows the field to be left out.
fn optional(site: &Site) -> bool {
    let Some(rules) = &site.rules else { return false };
    let rules = rules_of(rules);
    let ignored = rules.iter().any(|(name, value)| name == "ignore" && *value == Value::EnumNumber(1));
    // Only "required" refuses a message that is left out.
    let message = matches!(site.field.kind(), Kind::Message(_)) && !site.field.is_list();
    ignored || message && !rules.iter().any(|(name, _)| name == "required")
}

/// Returns every way to break the rules of the field. Panics at a rule that this test does not know.
fn breaches(site: &Site, request: &DynamicMessage) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let Some(rules) = &site.rules else { return breaches };
    for (kind, value) in rules_of(rules) {
        match (&*kind, value) {
            ("required", Value::Bool(true)) => {
                breaches.push(Breach { rule: kind, value: None, below: "" });
            }
            // Tested by leaving the field out.
            ("ignore", Value::EnumNumber(1)) => {}
            ("string" | "int32" | "int64" | "enum" | "repeated" | "duration", Value::Message(rules)) => {
                for (rule, bound) in rules_of(&rules) {
                    let name = format!("{kind}.{rule}");
                    let add = |(value, below)| Breach { rule: name.clone(), value: Some(value), below };
                    breaches.extend(values(&name, &bound, &site.value(request)).into_iter().map(add));
                }
            }
            (kind, value) => panic!("{}: this test does not know the rule {kind} = {value}", site.path()),
        }
    }
    // Unless the zero value is ignored, the rules of a text apply to it too.
    let text = site.field.kind() == Kind::String && !site.field.is_list();
    let strict = |rule: &str| rule == "string.pattern" || rule == "string.uuid" || rule == "string.min_len";
    if text && !optional(site) && breaches.iter().any(|breach| strict(&breach.rule)) {
        breaches.push(Breach { rule: "left out".to_owned(), value: None, below: "" });
    }
    breaches
}

/// Returns values that break this rule, each with the rest of the path of the violation.
fn values(rule: &str, bound: &Value, valid: &Value) -> Vec<(Value, &'static str)> {
    let text = |text: &str| (Value::String(text.to_owned()), "");
    let length = || usize::try_from(bound.as_u64().expect("a length")).expect("a small length");
    let items = || valid.as_list().expect("a list").to_vec();
    match rule {
        "string.min_len" => vec![(Value::String("x".repeat(length() - 1)), "")],
        "string.max_len" => vec![(Value::String("s".repeat(length() + 1)), "")],
        "string.uuid" => {
            ["7", "01890a5dac96774bbcceb302099a8057", "01890a5d-ac96-774b-bcce-b302099a805g"].map(text).into()
        }
        "string.pattern" => match bound.as_str().expect("a pattern") {
            "^[A-Za-z0-9_-]{1,64}$" => vec![text("a b"), text("ñ"), text(&"a".repeat(65)), text("a\n")],
            "^[A-Z]{1,4}$" => vec![text("a"), text("1"), text("A1"), text("ABCDE"), text("A-"), text("A\n")],
            "^[sacp_.]+$" => vec![text("sxs"), text("s\n"), text("S")],
            "^[a-z][a-z0-9_-]{0,19}$" => vec![text("A"), text("1a"), text("a b"), text(&"a".repeat(21)), text("a\n")],
            "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" => {
                vec![text("2027-2-28"), text("28-02-2027"), text("2027-02-28T"), text("x")]
            }
            pattern => panic!("this test has no text that does not match {pattern}"),
        },
        "int32.gte" => vec![(Value::I32(bound.as_i32().expect("a bound") - 1), "")],
        "int32.lte" => vec![(Value::I32(bound.as_i32().expect("a bound") + 1), "")],
        "enum.defined_only" => vec![(Value::EnumNumber(-1), ""), (Value::EnumNumber(i32::MAX), "")],
        "enum.not_in" => vec![(Value::EnumNumber(0), "")],
        "int64.gte" => vec![(Value::I64(bound.as_i64().expect("a bound") - 1), "")],
        "repeated.min_items" => vec![(Value::List(items().into_iter().take(length() - 1).collect()), "")],
        "repeated.max_items" => vec![(Value::List(items().into_iter().cycle().take(length() + 1).collect()), "")],
        "repeated.items" => {
            let mut values = Vec::new();
            for (kind, inner) in rules_of(bound.as_message().expect("rules are a message")) {
                for (rule, bound) in rules_of(inner.as_message().expect("rules are a message")) {
                    let broken = match (&*kind, &*rule) {
                        ("int32", "gte") => Value::I32(bound.as_i32().expect("a bound") - 1),
                        ("int32", "lte") => Value::I32(bound.as_i32().expect("a bound") + 1),
                        ("string", "uuid") => Value::String("7".to_owned()),
                        ("enum", "defined_only") => Value::EnumNumber(i32::MAX),
                        ("enum", "not_in") => Value::EnumNumber(0),
                        other => panic!("this test does not know the rule {other:?} for items"),
                    };
                    let mut items = items();
                    items[0] = broken;
                    values.push((Value::List(items), "[0]"));
                }
            }
            values
        }
        "duration.gte" => vec![(longer(bound, -1), "")],
        "duration.lte" => vec![(longer(bound, 1), "")],
        rule => panic!("this test does not know the rule {rule}"),
    }
}

/// The duration plus some seconds.
fn longer(bound: &Value, seconds: i64) -> Value {
    let mut duration = bound.as_message().expect("a duration").clone();
    let field = duration.descriptor().get_field_by_name("seconds").expect("a duration has seconds");
    let bound = duration.get_field(&field).as_i64().expect("seconds are a number");
    duration.set_field(&field, Value::I64(bound + seconds));
    Value::Message(duration)
}
