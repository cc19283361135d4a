//! What an explanation says before and after the run.

use super::*;

/// Series of several accounts, `labels` added to each.
async fn write_calls(server: &Server, name: &str, series: usize, ages: impl Iterator<Item = i64>) {
    let pairs: Vec<_> = (0..series).map(|n| (format!("{}", n % 5), format!("{n}"))).collect();
    let labels: Vec<_> = pairs
        .iter()
        .map(|(account, n)| [("__name__", name), ("account", account.as_str()), ("n", n.as_str())])
        .collect();
    for age in ages {
        let some: Vec<(&[(&str, &str)], f64)> = labels
            .iter()
            .enumerate()
            .map(|(i, l)| (&l[..], (i as i64 * (100_000 - age)) as f64 / 7.0))
            .collect();
        assert_eq!(server.write(&some, age).await.status(), 204);
    }
}

async fn explain(server: &Server, query: &str) -> Value {
    server
        .data(&format!(
            "/api/v1/query?{}",
            form_urlencoded::Serializer::new(String::new())
                .append_pair("query", query)
                .append_pair("explain", "1")
                .finish()
        ))
        .await
}

/// Checks what is told before against what was read.
fn check_close(told: &Value, read: &Value, what: &str) {
    assert_eq!(told["series"], read["series"], "{what}: {told} {read}");
    for figure in ["chunks", "bytes"] {
        let (told, read) = (told[figure].as_f64().expect("told"), read[figure].as_f64().expect("read"));
        assert!(
            (told - read).abs() <= read * 0.1 && read > 0.0,
            "{what}: {told} {figure} were told, {read} read"
        );
    }
}

#[tokio::test]
async fn what_is_told_before_is_what_is_read() {
    let server = Server::open(&[]);
    let queries = [
        "calls offset 20m",
        "sum by (account) (rate(calls[30m]))",
        "max_over_time(calls{n=~\"1.*\"}[2h])",
        "rate(calls{account=\"3\"}[5h]) / calls offset 30m",
        "max_over_time(sum(rate(calls[10m]))[2h:5m])",
        "calls[3h]",
        "absent_over_time(calls[1h])",
        "max_over_time(count(calls)[2h:10m]) + on () count(calls offset 1h) + on () sum(calls offset 1h)",
    ];
    let check_all = async |state: &str, parts: u64| {
        for query in queries {
            let explain = explain(&server, query).await["explain"].clone();
            check_close(&explain["estimated"], &explain["measured"], &format!("{query} on {state}"));
        }
        let whole = explain(&server, "calls[5h]").await["explain"].clone();
        assert_eq!(
            (&whole["estimated"]["series"], &whole["estimated"]["blocks"]),
            (&json!(40), &json!(parts)),
            "{state}"
        );
    };
    write_calls(&server, "calls", 30, (1800..17_000).rev().step_by(60)).await;
    write_calls(&server, "calls", 40, (1000..1800).rev().step_by(60)).await;
    check_all("head", 0).await;
    let flushed = server.send(request(Method::POST, "/api/v1/admin/tsdb/flush", "")).await;
    assert_eq!(flushed.status(), 204);
    let blocks = server.state.core().expect("open").database.stats().blocks;
    check_all("blocks", blocks).await;
    write_calls(&server, "calls", 35, (0..1000).rev().step_by(60)).await;
    check_all("both", blocks).await;
}

#[tokio::test]
async fn a_plan_is_told_without_running() {
    let server = Server::open(&[]);
    write_calls(&server, "calls", 3, 0..1).await;
    let plan = server
        .data("/api/v1/query_range?query=sum(calls)&start=999990&end=1000000&step=5&explain=plan")
        .await;
    assert_eq!((&plan["resultType"], &plan["result"]), (&json!("matrix"), &json!([])));
    let explain = &plan["explain"];
    assert_eq!((&explain["steps"], explain.get("measured")), (&json!(3), None), "{explain}");
    let select = &explain["plan"]["inputs"][0];
    assert_eq!(select["read"]["matchers"], json!(["__name__=\"calls\""]), "{explain}");
    assert_eq!(
        (&select["read"]["after"], &select["read"]["until"]),
        (&json!(999_690.0), &json!(1_000_000.0))
    );
    assert_eq!(select["read"]["estimated"]["series"], 3);
    for off in ["0", "false", ""] {
        let data = server.data(&format!("/api/v1/query?query=sum(calls)&explain={off}")).await;
        assert_eq!(data.get("explain"), None);
    }
    let (status, _) = server.get("/api/v1/query?query=1&explain=maybe").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn every_part_has_its_figures_and_the_answer_is_the_same() {
    let server = Server::open(&[]);
    write_calls(&server, "calls", 30, (0..600).rev().step_by(15)).await;
    let query =
        "sum by (account) (rate(calls[5m])) * 2 + on (account) group_left () count by (account) (calls)";
    let explained = explain(&server, query).await;
    let escaped = form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>();
    let plain = server.data(&format!("/api/v1/query?query={escaped}")).await;
    let sorted = |data: &Value| {
        let mut result: Vec<String> =
            data["result"].as_array().expect("a list").iter().map(Value::to_string).collect();
        result.sort();
        result
    };
    assert_eq!(sorted(&explained), sorted(&plain));
    let plan = &explained["explain"]["plan"];
    assert_eq!(
        (&plan["operation"], &plan["series"]),
        (&json!("+ on (account) group_left ()"), &json!(5)),
        "{plan}"
    );
    let product = &plan["inputs"][0];
    assert_eq!((&product["operation"], &product["series"]), (&json!("*"), &json!(5)), "{product}");
    let rate = &product["inputs"][0]["inputs"][0];
    assert_eq!((&rate["operation"], &rate["streamed"]), (&json!("rate"), &json!(true)), "{rate}");
    let read = &rate["inputs"][0]["read"]["measured"];
    assert_eq!((&read["series"], &read["samples"]), (&json!(30), &json!(600)), "{rate}");
}

#[tokio::test]
async fn hints_say_what_an_empty_answer_may_be_due_to() {
    let server = Server::open(&[]);
    let series: [&[(&str, &str)]; 6] = [
        &[("__name__", "warp_pdd_milliseconds_bucket"), ("le", "1"), ("account", "1")],
        &[("__name__", "warp_account_balance_dollars"), ("account", "1"), ("type", "prepaid")],
        &[("__name__", "warp_credit_limit_dollars"), ("account", "1")],
        &[("__name__", "warp_call_attempts_total"), ("account", "1"), ("direction", "inbound")],
        &[("__name__", "up"), ("job", "a")],
        &[("__name__", "down"), ("job", "b")],
    ];
    assert_eq!(server.write(&series.map(|labels| (labels, 1.0)), 0).await.status(), 204);
    let check = async |query: &str, position: &str, text: &str, suggestion: Option<&str>| {
        let data = explain(&server, query).await;
        assert_eq!(data["result"], json!([]), "{query}");
        let hint = &data["explain"]["hints"][0];
        assert_eq!(
            (&hint["position"], hint["suggestion"].as_str()),
            (&json!(position), suggestion),
            "{query}: {hint}"
        );
        assert!(hint["text"].as_str().expect("a text").contains(text), "{query}: {hint}");
        if let Some(suggestion) = suggestion {
            let answer = explain(&server, suggestion).await;
            assert_eq!(answer["explain"]["hints"], json!([]), "{suggestion}: {answer}");
        }
    };
    let quantile = "histogram_quantile(0.95, sum by (le) (rate(warp_pdd_milliseconds_bucket[5m])))";
    check("histogram_quantile(0.95, warp_pdd_milliseconds)", "1:26", "a classic histogram", Some(quantile))
        .await;
    check("rate(warp_call_attempts[5m])", "1:6", "a counter", Some("rate(warp_call_attempts_total[5m])"))
        .await;
    let ratio = "warp_account_balance_dollars / on (account) group_left () warp_credit_limit_dollars < 0.1";
    let plain = "warp_account_balance_dollars / warp_credit_limit_dollars < 0.1";
    check(plain, "1:30", "only on the left: type", Some(ratio)).await;
    check(
        "warp_call_attempts_total{account=\"1\", direction = \"inbound|outbound\"}",
        "1:39",
        "`=~` takes one of several, and finds series",
        Some("warp_call_attempts_total{account=\"1\", direction =~ \"inbound|outbound\"}"),
    )
    .await;
    check("up + down", "1:4", "no label values in common", None).await;
    // Nothing to say where there is an answer, or where nobody knows why there is none.
    assert_eq!(explain(&server, "up").await["explain"]["hints"], json!([]));
    assert_eq!(explain(&server, "nothing{a=\"b\"}").await["explain"]["hints"], json!([]));
    assert_eq!(explain(&server, "up == 7").await["explain"]["hints"], json!([]));
}
