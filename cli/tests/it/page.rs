//! The web page in a real browser, served by a real processor.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retail_testbed::{
    Browser, Case, Kafka, Postgres, Program, Sent, Silence, SilentProxy, eventually, free_port, purchase,
};
use serde_json::Value;

use crate::RETAIL;

/// Windows of event time, of which the page shows the newest 300, and groups.
const WINDOWS: i64 = 360;
const GROUPS: i64 = 1000;

/// Number of events; a multiple of both.
const EVENTS: i64 = 18_000;

/// Categories that would be executed if they were not escaped, as they are in JSON. Their amounts make them the largest groups.
const HOSTILE: [&str; 3] = [
    "<script>window.hostile = 1</script>",
    "<img src=x onerror='window.hostile = 2'>",
    "\\\"><svg onload='window.hostile = 3'>\\u202e",
];

/// The end of the last window that is closed when all events are processed: partition 1 ends 1.2 s before the end.
const CLOSED: &str = "timestamptz '2025-01-01T01:25:00Z'";

/// Work of the browser's main thread for the page, in seconds per second.
const WORK: f64 = 0.1;

fn processor(case: &Case, port: u16) -> Program {
    let mut command = case.command(RETAIL);
    command.arg0("retail-processor").args(["--workers", "1", "--ui", &format!("127.0.0.1:{port}")]);
    Program::run(command)
}

/// Events of all groups over all windows, in order of time, and some that are not applied.
fn records() -> Vec<Sent> {
    let event = |number: i64| {
        let timestamp = number * WINDOWS * 60 / EVENTS;
        let value = purchase(&format!("group {}", number * 7 % GROUPS), "12.5", timestamp);
        Sent { partition: i32::try_from(number % 2).unwrap(), timestamp, value: Some(value) }
    };
    let end = WINDOWS * 60;
    let hostile = HOSTILE.map(|category| purchase(category, "123456.789", end));
    // More than 2^63 millionths.
    let large = std::iter::repeat_n(purchase("large", "999999999999.25", end), 12);
    let late = [0, 60, 9 * 60, 50 * 60].map(|seconds| purchase("late", "10", seconds));
    let others = hostile.into_iter().chain(large).chain(late).chain([b"no purchase".to_vec()]);
    let others = others.map(|value| Sent { partition: 0, timestamp: end, value: Some(value) });
    (0..EVENTS).map(event).chain(others).collect()
}

/// The texts of all elements that a CSS selector finds, with a blank between two cells of a row.
fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let script = format!(
        "return [...document.querySelectorAll({})].map(e => [...(e.cells ?? [e])].map(c => c.textContent).join(' ').replace(/\\s+/g, ' ').trim())",
        serde_json::json!(selector)
    );
    browser.script(&script).as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The values of a query with one text column.
async fn column(case: &Case, sql: &str) -> Vec<String> {
    case.query(sql).await.iter().map(|row| row.get(0)).collect()
}

async fn shows(browser: &Browser, selector: &str, expected: &str) {
    eventually(&format!("{selector} shows {expected}"), async || {
        browser.text(selector).filter(|text| text.contains(expected))
    })
    .await;
}

/// SQL for an amount as the page shows it.
fn money(column: &str) -> String {
    format!("regexp_replace(to_char({column}, 'FM999,999,999,999,999,990.000000'), '0{{1,4}}$', '')")
}

/// SQL for a time as the page shows it.
fn clock(column: &str) -> String {
    format!("replace(to_char({column}, 'HH24:MI:SS MM-DD'), ':00 ', ' ')")
}

/// Each value of the page that Postgres has too.
async fn assert_equal_to_sql(case: &Case, browser: &Browser) {
    for fate in ["applied", "late", "invalid", "future", "consumed"] {
        let expected = case.text(&format!("SELECT to_char(sum({fate}), 'FM999,990') FROM ledger")).await;
        assert_eq!(browser.text(&format!("#fates [data-fate={fate}] td")), Some(expected), "{fate}");
    }
    let watermark = clock("min(max_observed_time) - (SELECT delay FROM pipeline)");
    let watermark = case.text(&format!("SELECT {watermark} FROM partition_progress")).await;
    assert_eq!(browser.text("#watermark"), Some(watermark));
    let windows = format!(
        "SELECT concat_ws(' ', to_char(window_start, 'YYYY-MM-DD HH24:MI:SS–') || to_char(window_end, 'HH24:MI'), state, events,
                          total_quantity, {})
         FROM (SELECT *, CASE WHEN final THEN 'final' WHEN window_start = (SELECT closed_until FROM pipeline) THEN 'closing'
                              ELSE 'open' END AS state
               FROM retail_windows) w
         ORDER BY window_start DESC LIMIT 60",
        money("total_amount")
    );
    assert_eq!(texts(browser, "#windows-table tbody tr"), column(case, &windows).await);
    let groups = format!(
        "SELECT concat_ws(' ', category || ' · ' || payment_method, {}) FROM totals ORDER BY running_total DESC, category LIMIT 10",
        money("running_total")
    );
    let shown = texts(browser, "#groups tr.group");
    let shown: Vec<&str> = shown.iter().map(|row| row.rsplitn(3, ' ').nth(2).unwrap()).collect();
    assert_eq!(shown, column(case, &groups).await, "without their shares");
    let reasons = "SELECT reason || ' ' || count(*) FROM dead_letter GROUP BY reason ORDER BY count(*) DESC";
    let shown = texts(browser, "#letters tr[data-reason]");
    let shown: Vec<String> = shown.iter().map(|row| row.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(shown, column(case, reasons).await, "without their ages");
}

/// The slider chooses each delay of the table, and names the lost events.
async fn assert_slider(case: &Case, browser: &Browser) {
    let last = browser
        .script("const s = document.getElementById('slider'); s.value = s.max - 1; s.dispatchEvent(new Event('input')); return document.getElementById('slider-delay').textContent")
        .as_str()
        .unwrap()
        .to_owned();
    let still = format!(
        "SELECT count(*) FROM dead_letter WHERE reason = 'late' AND missed_by >= '{}'::interval - (SELECT delay FROM pipeline)",
        last.replace('h', " hours ").replace('m', " minutes")
    );
    let expected = format!("and {} are lost", case.text(&still).await);
    let result = browser.text("#slider-result").unwrap();
    assert!(result.contains(&expected), "{result} at {last}: {expected}");
    assert!(browser.script("return document.querySelectorAll('#lateness .bar.counted').length").as_u64() > Some(0));
}

/// Work per second while every second brings new records. The page of each update is measured, with style, layout and painting.
fn assert_work(case: &Case, browser: &Browser) {
    // CPU time of the thread: the time on the clock depends on the other load of the machine.
    browser.devtools("Performance.enable", &serde_json::json!({"timeDomain": "threadTicks"}));
    let updates = || browser.script("return performance.getEntriesByName('update').length").as_u64().unwrap();
    let end = AtomicBool::new(false);
    let (seconds, spent) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let purchases: Vec<(String, i64)> =
                    (0..GROUPS).map(|group| (format!("group {group}"), (WINDOWS - group % 260) * 60 - 1)).collect();
                let purchases: Vec<(&str, &str, i64)> =
                    purchases.iter().map(|(category, seconds)| (&**category, "0.25", *seconds)).collect();
                case.topic.purchases(1, &purchases);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        let (began, first, before) = (std::time::Instant::now(), updates(), browser.task_seconds());
        while updates() < first + 6 && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(100));
        }
        end.store(true, Ordering::Relaxed);
        let measured = (began.elapsed().as_secs_f64(), browser.task_seconds() - before);
        assert!(updates() >= first + 6, "six updates came in {} s", measured.0);
        measured
    });
    let mean = browser.script(
        "const all = performance.getEntriesByName('update').map(e => e.duration); return all.reduce((a, b) => a + b) / all.length",
    );
    assert!(spent > 0.0, "no work was measured");
    assert!(spent / seconds < WORK, "{spent} s of work in {seconds} s; scripts of an update: {mean} ms");
}

fn assert_accessible(browser: &Browser, colours: &str) {
    browser.show_as(375, 900, colours);
    let width = browser.script("return document.documentElement.scrollWidth");
    assert!(width.as_u64() <= Some(375), "the page is {width} pixels wide");
    browser.script("document.querySelectorAll('details').forEach(details => { details.open = true })");
    let violations = browser.accessibility_violations();
    assert_eq!(violations, [] as [&str; 0], "{colours}");
}

/// A request with this Host; head and content of the answer.
fn get(port: u16, host: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(connection, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// One set of servers and one browser for everything that needs them.
#[tokio::test(flavor = "multi_thread")]
async fn page_shows_what_sql_shows_and_survives_restarts() {
    let postgres = Postgres::private();
    let case = Case::on(&Kafka::shared().address(), &postgres.url())
        .spec("window: 1m")
        .spec("watermark: {delay: 4h34m}")
        .start()
        .await;
    case.topic.send(&records());
    let port = free_port();
    let running = processor(&case, port);
    running.says("the web page is at").await;
    let browser = Browser::start();
    browser.show_as(1280, 900, "light");
    browser.open(&format!("http://127.0.0.1:{port}/"));
    let closed = case.text(&format!("SELECT {}", clock(CLOSED))).await;
    shows(&browser, "#closed-until", &closed).await;
    let total = case.text(&format!("SELECT to_char({}, 'FM999,999')", records().len())).await;
    shows(&browser, "#fates tfoot", &total).await;
    shows(&browser, "#status", "ready").await;

    assert_equal_to_sql(&case, &browser).await;
    let bars = browser.script("return document.querySelectorAll('#windows rect.bar').length");
    assert_eq!(bars, 300, "the newest windows");
    assert_slider(&case, &browser).await;
    let groups = texts(&browser, "#groups tr.group bdi");
    for hostile in HOSTILE {
        let shown: Value = serde_json::from_str(&format!("\"{hostile}\"")).unwrap();
        assert!(groups.iter().any(|group| group == shown.as_str().unwrap()), "{hostile} is not among {groups:?}");
    }
    assert_eq!(browser.script("return window.hostile ?? null"), Value::Null, "no text of a record is executed");
    assert_eq!(browser.script("return document.querySelectorAll('main img, main script').length"), 0);
    assert_work(&case, &browser);
    for colours in ["light", "dark"] {
        assert_accessible(&browser, colours);
    }
    assert_eq!(browser.messages(), [] as [&str; 0], "the policy refuses nothing, and no script fails");

    running.kill();
    eventually("the page calls itself out of date", async || {
        browser.script("return 'silent' in document.documentElement.dataset").as_bool().filter(|silent| *silent)
    })
    .await;
    let running = processor(&case, port);
    case.topic.purchases(1, &[("after the restart", "9999999", WINDOWS * 60)]);
    shows(&browser, "#groups", "after the restart").await;
    shows(&browser, "#link[data-state=live]", "20").await;

    postgres.stop();
    shows(&browser, "#problems", "Postgres: ").await;
    shows(&browser, "#groups", "after the restart").await;
    postgres.start();
    shows(&browser, "#status", "ready").await;

    // The page needs no processor, and a name of another site gets nothing.
    running.kill();
    let port = free_port();
    let page = Program::start(RETAIL, &case, &["ui", "--ui", &format!("127.0.0.1:{port}")]);
    page.says("the web page is at").await;
    assert!(get(port, &format!("localhost:{port}")).contains("after the restart"));
    let refused = get(port, "shop.example");
    assert!(refused.starts_with("HTTP/1.1 421") && !refused.contains("after the restart"), "{refused}");
}

#[tokio::test]
async fn silent_postgres_is_a_problem_on_the_page() {
    let case = Case::shared().partitions(1).start().await;
    let proxy = SilentProxy::start(&Postgres::shared().address(), Silence::Never).await;
    let through = case.with_database(&proxy.url(&Postgres::shared().url()));
    let port = free_port();
    let page = Program::start(RETAIL, &through, &["ui", "--ui", &format!("127.0.0.1:{port}")]);
    page.says("the web page is at").await;
    let shows = async |text: &str| {
        let get = move || get(port, &format!("127.0.0.1:{port}"));
        tokio::task::spawn_blocking(get).await.unwrap().contains(text)
    };
    let has_snapshot = async || (!shows("no snapshot yet").await).then_some(());
    eventually("the page shows a snapshot", has_snapshot).await;
    assert!(!shows("Postgres: ").await);
    proxy.silence();
    let reports = async || shows("Postgres: no answer for ").await.then_some(());
    eventually("the page reports the silence", reports).await;
}
