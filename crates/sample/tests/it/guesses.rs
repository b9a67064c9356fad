use retail_api::Pipeline;
use retail_api::events::Format;
use retail_engine::{Record, Timestamp};
use retail_sample::{Facts, Proposal, Report, Reporter};
use serde_json::{Value, json};

use crate::shapes::{self, Numbers, SHAPES, Shape};

/// A number of records that every shape can be told apart by.
const RECORDS: u64 = 60;

const HEAD: &str = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: retail}\nspec:\n  \
    kafka: {bootstrapServers: \"kafka:9092\"}\n  topic: {name: t}\n  database: {host: db, name: db}\n";

type Records = Vec<(Option<Vec<u8>>, Option<Timestamp>)>;

fn record(value: &Value) -> (Option<Vec<u8>>, Option<Timestamp>) {
    (Some(value.to_string().into_bytes()), Some(Timestamp::from_secs(1_767_323_045)))
}

fn records(shape: Shape, count: u64, seed: u64) -> Records {
    let mut numbers = Numbers::new(seed);
    (0..count).map(|at| record(&shape(at, &mut numbers))).collect()
}

fn propose(records: &[(Option<Vec<u8>>, Option<Timestamp>)]) -> Result<Proposal, String> {
    let records: Vec<Record<'_>> = records
        .iter()
        .map(|(value, timestamp)| Record { offset: 0, timestamp: *timestamp, value: value.as_deref(), schema: None })
        .collect();
    retail_sample::propose(&records, &Format::default(), &[])
}

/// The text of the proposal, pasted into a pipeline.yaml, is its mapping.
fn assert_pasted(proposal: &Proposal) {
    let yaml = format!("{HEAD}{}", proposal.yaml);
    let pipeline = Pipeline::parse(&yaml).unwrap_or_else(|problems| panic!("{problems}\n{yaml}"));
    assert_eq!(pipeline.events.as_ref(), Some(&proposal.mapping));
}

fn report(proposal: &Proposal, value: &Value) -> Report {
    let (value, time) = record(value);
    Reporter::new(Some(&proposal.mapping)).report(&Record {
        offset: 0,
        timestamp: time,
        value: value.as_deref(),
        schema: None,
    })
}

/// Event time, and `quantity × price = amount` of each purchase with its dimensions.
fn contents(proposal: &Proposal, value: &Value) -> (String, Vec<String>) {
    let report = report(proposal, value);
    let Some(Facts { event_time, purchases }) = &report.facts else { panic!("{report:?}\n{}", proposal.yaml) };
    let purchase = |purchase: &retail_sample::Purchase| {
        let names: Vec<String> = purchase.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} x {} = {} {}", purchase.quantity, purchase.price, purchase.amount, names.join(" "))
    };
    (event_time.clone(), purchases.iter().map(purchase).collect())
}

#[test]
fn all_ten_shapes_are_read_by_the_proposal() {
    for seed in 0..3 {
        for (name, shape, every) in SHAPES {
            let records = records(shape, RECORDS, seed);
            let proposal = propose(&records).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            let filtered = every.map_or(0, |every| RECORDS / every);
            let Proposal { yaml, reads, filters, of, .. } = &proposal;
            let expected = ((RECORDS - filtered) as usize, filtered as usize, RECORDS as usize);
            assert_eq!((*reads, *filters, *of), expected, "{name}, seed {seed}\n{yaml}");
        }
    }
}

#[test]
fn proposals_for_the_ten_shapes() {
    let mut text = String::new();
    for (name, shape, _) in SHAPES {
        let proposal = proposal(shape);
        assert_pasted(&proposal);
        let Proposal { yaml, notes, .. } = proposal;
        text += &format!("# {name}\n{yaml}");
        notes.iter().for_each(|note| text += &format!("  # {note}\n"));
    }
    insta::assert_snapshot!(text);
}

fn proposal(shape: Shape) -> Proposal {
    propose(&records(shape, RECORDS, 7)).unwrap()
}

#[test]
fn values_of_a_shop_order_are_those_of_its_lines() {
    let mut order = shapes::shop_order(5, &mut Numbers::new(1));
    order["line_items"] = json!([
        {"quantity": 2, "price": "19.99", "vendor": "Acme", "id": 1, "title": "Mug"},
        {"quantity": 1, "price": "5.00", "vendor": "Globex", "id": 2, "title": "Socks"},
    ]);
    let (time, purchases) = contents(&proposal(shapes::shop_order), &order);
    assert_eq!(time, "2026-01-02T02:00:05Z", "an offset of one hour");
    let [first, second] = &purchases[..] else { panic!("{purchases:?}") };
    assert!(first.starts_with("2 x 19.99 = 39.98 ") && first.contains("vendor=Acme"), "{first}");
    assert!(second.starts_with("1 x 5 = 5 "), "{second}");
}

#[test]
fn values_of_a_charge_are_hundredths() {
    let mut charge = shapes::charge(5, &mut Numbers::new(1));
    charge["amount"] = json!(1999);
    let (time, purchases) = contents(&proposal(shapes::charge), &charge);
    assert_eq!(time, "2026-01-02T03:04:10Z");
    assert!(purchases[0].starts_with("1 x 19.99 = 19.99 "), "{purchases:?}");
}

#[test]
fn values_of_a_web_purchase_are_those_of_its_items() {
    let mut event = shapes::analytics(3, &mut Numbers::new(1));
    event["items"] =
        json!([{"item_id": "1", "item_category": "Bags", "price": 10.25, "quantity": 3, "item_revenue": 30.75}]);
    let (time, purchases) = contents(&proposal(shapes::analytics), &event);
    assert_eq!(time, "2026-01-02T03:04:08.000017Z");
    assert!(
        purchases[0].starts_with("3 x 10.25 = 30.75 ") && purchases[0].contains("item_category=Bags"),
        "{purchases:?}"
    );
}

#[test]
fn computed_price_is_replaced_by_the_total_of_the_line() {
    let mut order = shapes::plugin_order(5, &mut Numbers::new(1));
    order["line_items"] = json!([{"quantity": 3, "total": "10.00", "subtotal": "10.00", "price": 3.333_333_333_333_333_5, "name": "Tea"}]);
    let (time, purchases) = contents(&proposal(shapes::plugin_order), &order);
    assert_eq!(time, "2026-01-02T03:04:05Z", "the time of the record");
    assert!(purchases[0].starts_with("3 x 3.333333 = 10 "), "{purchases:?}");
}

#[test]
fn values_of_a_till_order_are_money_objects() {
    let money = |amount: u64| json!({"amount": amount, "currency": "USD"});
    let mut order = shapes::till_order(5, &mut Numbers::new(1));
    order["line_items"] =
        json!([{"quantity": "2", "base_price_money": money(450), "total_money": money(963), "name": "Latte"}]);
    let (time, purchases) = contents(&proposal(shapes::till_order), &order);
    assert_eq!(time, "2026-01-02T03:00:05.250Z");
    assert!(purchases[0].starts_with("2 x 4.5 = 9 ") && purchases[0].contains("location_id="), "{purchases:?}");
}

#[test]
fn inserted_rows_count_and_updated_ones_do_not() {
    let proposal = proposal(shapes::table_row);
    let mut row = shapes::table_row(4, &mut Numbers::new(1));
    row["after"] = json!({"id": 1, "category": "toys", "channel": "web", "qty": 4, "unit_price": "2.50", "created_at": 1_767_323_045_000_001_u64});
    let (time, purchases) = contents(&proposal, &row);
    assert_eq!((time.as_str(), purchases.len()), ("2026-01-02T03:04:05.000001Z", 1));
    assert!(purchases[0].starts_with("4 x 2.5 = 10 ") && purchases[0].contains("category=toys"), "{purchases:?}");
    row["op"] = json!("u");
    assert_eq!(report(&proposal, &row).fate, "filtered");
}

#[test]
fn values_of_an_envelope_are_those_of_its_data() {
    let mut event = shapes::cloud_event(5, &mut Numbers::new(1));
    event["data"]["itemCount"] = json!(4);
    event["data"]["totalAmount"] = json!(50.5);
    let (time, purchases) = contents(&proposal(shapes::cloud_event), &event);
    assert_eq!(time, "2026-01-02T03:00:05Z");
    assert!(
        purchases[0].starts_with("4 x 12.625 = 50.5 ") && purchases[0].contains("payment_method="),
        "{purchases:?}"
    );
}

#[test]
fn tracked_orders_count_and_views_do_not() {
    let proposal = proposal(shapes::tracked);
    let mut event = shapes::tracked(4, &mut Numbers::new(1));
    event["properties"]["products"] =
        json!([{"category": "Games", "brand": "Acme", "price": 7.77, "quantity": 2, "sku": "1"}]);
    let (time, purchases) = contents(&proposal, &event);
    assert_eq!(time, "2026-01-02T03:00:04.125Z");
    assert!(purchases[0].starts_with("2 x 7.77 = 15.54 ") && purchases[0].contains("category=Games"), "{purchases:?}");
    assert_eq!(report(&proposal, &shapes::tracked(5, &mut Numbers::new(1))).fate, "filtered");
}

/// A cart has the same items as its purchase.
#[test]
fn events_before_a_purchase_do_not_count() {
    let mut numbers = Numbers::new(3);
    let kinds = ["view_item", "add_to_cart", "begin_checkout", "purchase"];
    let event = |at: u64| {
        let mut event = shapes::analytics(0, &mut numbers);
        event["event_name"] = json!(kinds[at as usize % 4]);
        record(&event)
    };
    let proposal = propose(&(0..40).map(event).collect::<Records>()).unwrap();
    assert_eq!((proposal.reads, proposal.filters), (10, 30), "{}", proposal.yaml);
    assert!(proposal.yaml.contains("where: \"event_name == 'purchase'\""), "{}", proposal.yaml);
}

/// The kind is beside the money: without the first condition, the second one could not be seen.
#[test]
fn failed_charges_in_envelopes_are_filtered_by_their_kind() {
    let mut numbers = Numbers::new(3);
    let kinds = ["charge.succeeded", "charge.failed", "customer.created"];
    let event = |at: u64| {
        let kind = kinds[at as usize % 3];
        let object = if at % 3 == 2 { json!({"object": "customer"}) } else { shapes::charge(at, &mut numbers) };
        record(
            &json!({"id": format!("evt_{at}"), "object": "event", "livemode": false, "created": shapes::TIME + at, "type": kind,
            "data": {"object": object}}),
        )
    };
    let proposal = propose(&(0..60).map(event).collect::<Records>()).unwrap();
    assert_eq!((proposal.reads, proposal.filters), (20, 40), "{}", proposal.yaml);
    assert!(proposal.yaml.contains("where: \"type == 'charge.succeeded'\""), "{}", proposal.yaml);
    assert!(proposal.yaml.contains("amount: {field: data.object.amount, scale: 2}"), "{}", proposal.yaml);
}

#[test]
fn returned_pieces_of_a_receipt_are_subtracted() {
    let mut receipt = shapes::receipt(4, &mut Numbers::new(1));
    receipt["lines"] = json!([{"sku": "1", "dept": "Dairy", "qty": -2, "unitPrice": 1.05, "taxCode": "A"}]);
    let (time, purchases) = contents(&proposal(shapes::receipt), &receipt);
    assert_eq!(time, "2026-01-02T01:00:04Z");
    assert!(purchases[0].starts_with("-2 x 1.05 = -2.1 ") && purchases[0].contains("dept=Dairy"), "{purchases:?}");
}

#[test]
fn values_of_a_marketplace_order_are_cents_and_milliseconds() {
    let mut order = shapes::marketplace_order(5, &mut Numbers::new(1));
    order["items"] = json!([{"sku": "1", "category": "Toys", "units": 3, "unitPriceCents": 1999}]);
    let (time, purchases) = contents(&proposal(shapes::marketplace_order), &order);
    assert_eq!(time, "2026-01-02T03:04:10.007Z");
    assert!(purchases[0].starts_with("3 x 19.99 = 59.97 ") && purchases[0].contains("category=Toys"), "{purchases:?}");
}

/// Their price is called cents, and one line has a price of another kind instead.
#[test]
fn sales_of_the_tutorial_are_read_by_the_proposal() {
    let sales = include_str!("../../../../examples/sales.ndjson");
    let records: Records = sales.lines().map(|line| (Some(line.as_bytes().to_vec()), None)).collect();
    let proposal = propose(&records).unwrap();
    let Proposal { yaml, reads, filters, of, .. } = &proposal;
    assert!(yaml.contains("price: {field: cents, scale: 2}\n") && yaml.contains("explode: lines\n"), "{yaml}");
    assert_eq!((*reads, *filters, *of), (35, 3, 40), "{yaml}");
    assert_pasted(&proposal);
}

#[test]
fn records_without_money_have_no_proposal() {
    let login = |at: u64| record(&json!({"event": "login", "at": shapes::TIME + at, "user": at}));
    assert_eq!(
        propose(&(0..20).map(login).collect::<Records>()),
        Err("no field looks like a price or an amount".to_owned())
    );
    assert_eq!(propose(&[(None, None), (Some(b"x".to_vec()), None)]), Err("no record is a JSON object".to_owned()));
}

/// Names that a path, a column or a condition cannot have as they are.
#[test]
fn awkward_names_give_a_valid_mapping() {
    let event = |at: u64| {
        let group = if at.is_multiple_of(2) { "it's" } else { "yes" };
        record(
            &json!({"Order Total": 10.5, "user.type": group, "select": group, "createdAt": shapes::TIME + at, "": 1, "a\"b": 2}),
        )
    };
    let proposal = propose(&(0..20).map(event).collect::<Records>()).unwrap();
    assert_eq!((proposal.reads, proposal.of), (20, 20), "{}", proposal.yaml);
    assert!(proposal.yaml.contains(r#"{field: "\"Order Total\""}"#), "{}", proposal.yaml);
}

#[test]
fn integers_without_a_unit_are_pointed_out() {
    let event = |at: u64| record(&json!({"type": "sale", "amount": 1999 + at, "time": shapes::TIME + at}));
    let proposal = propose(&(0..20).map(event).collect::<Records>()).unwrap();
    let note = "amount: all values are integers of 100 and more; if they count cents, add scale: 2";
    assert_eq!(proposal.notes, [note], "{}", proposal.yaml);
}
