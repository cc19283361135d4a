//! `metadata`: what senders said about metric families.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use cardinal_storage::model::MetricMetadata;

use super::error::ApiError;
use super::json::{put_string, separate};
use super::params::Params;
use super::render::put_success;
use super::state::AppState;
use super::work::run;

/// Suffixes of series that belong to a family.
const SUFFIXES: [&str; 6] = ["_total", "_bucket", "_sum", "_count", "_created", "_info"];

/// Statements by family. As in the reference, `limit=0` asks for none at all and a negative one for all, `limit_per_metric` of 0 or less
/// for all.
pub(super) async fn metadata(
    State(state): State<Arc<AppState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.number_or_all("limit")?.unwrap_or(usize::MAX);
    let per_metric = params.number_or_all("limit_per_metric")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
    let metric = params.get("metric").to_owned();
    run(state, &params, move |mut task| {
        let items = task.core.database.metadata();
        let families = families(&items, &metric, limit, per_metric);
        put_success(task.sink.buffer(), &[], |out| put_families(out, &families));
        Ok(task.sink.finish()?)
    })
    .await
}

/// The statements about `metric`, or about everything if it is empty. A series' name finds its family too.
fn families<'a>(
    items: &'a [MetricMetadata],
    metric: &str,
    limit: usize,
    per_metric: usize,
) -> BTreeMap<&'a str, Vec<&'a MetricMetadata>> {
    let known = |family: &str| items.iter().any(|item| item.family == family);
    let stripped = SUFFIXES.iter().find_map(|suffix| metric.strip_suffix(suffix));
    let metric = if known(metric) { metric } else { stripped.unwrap_or(metric) };
    let mut families = BTreeMap::<_, Vec<_>>::new();
    for item in items.iter().filter(|item| metric.is_empty() || item.family == metric) {
        if families.len() == limit && !families.contains_key(item.family.as_str()) {
            continue;
        }
        let statements = families.entry(item.family.as_str()).or_default();
        if statements.len() < per_metric {
            statements.push(item);
        }
    }
    families
}

fn put_families(out: &mut Vec<u8>, families: &BTreeMap<&str, Vec<&MetricMetadata>>) {
    out.push(b'{');
    for (i, (family, statements)) in families.iter().enumerate() {
        separate(out, i);
        put_string(out, family);
        out.extend_from_slice(b":[");
        for (i, statement) in statements.iter().enumerate() {
            separate(out, i);
            put_statement(out, statement);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn put_statement(out: &mut Vec<u8>, statement: &MetricMetadata) {
    out.extend_from_slice(b"{\"type\":");
    put_string(out, statement.kind.name());
    out.extend_from_slice(b",\"unit\":");
    put_string(out, &statement.unit);
    out.extend_from_slice(b",\"help\":");
    put_string(out, &statement.help);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardinal_storage::model::MetricKind;

    fn item(family: &str, help: &str) -> MetricMetadata {
        MetricMetadata {
            family: family.into(),
            kind: MetricKind::Counter,
            unit: String::new(),
            help: help.into(),
        }
    }

    #[test]
    fn families_by_name_suffix_and_limit() {
        let items = [item("a", "x"), item("a", "y"), item("b_total", "z"), item("c", "w")];
        let check = |metric: &str, limit: usize, per_metric: usize, expected: &[(&str, usize)]| {
            let found = families(&items, metric, limit, per_metric);
            let found: Vec<_> = found.iter().map(|(family, s)| (*family, s.len())).collect();
            assert_eq!(found, expected);
        };
        let all = usize::MAX;
        check("", all, all, &[("a", 2), ("b_total", 1), ("c", 1)]);
        check("", 0, all, &[]);
        check("", 1, all, &[("a", 2)]);
        check("", all, 1, &[("a", 1), ("b_total", 1), ("c", 1)]);
        check("a", all, all, &[("a", 2)]);
        check("c_bucket", all, all, &[("c", 1)]);
        check("b_total", all, all, &[("b_total", 1)]);
        check("d", all, all, &[]);
    }

    #[test]
    fn rendering() {
        let items = [item("a", "is < b")];
        let mut out = Vec::new();
        put_families(&mut out, &families(&items, "", 9, 9));
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#"{"a":[{"type":"counter","unit":"","help":"is \u003c b"}]}"#
        );
    }
}
