//! An explanation as JSON: `data.explain`.

use cardinal_query::explain::{Explain, Explanation, Hint, PlanNode, PlannedRead, SelectorCost};
use cardinal_storage::model::TimestampMs;
use cardinal_storage::read::Estimate;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::params::Params;

/// What `explain` asks for.
pub(super) fn wanted(params: &Params) -> Result<Explain, ApiError> {
    match params.get("explain") {
        "" | "0" | "false" => Ok(Explain::Off),
        "1" | "true" => Ok(Explain::Run),
        "plan" => Ok(Explain::Plan),
        other => Err(ApiError::parameter(
            "explain",
            format!(
                "{other:?} is not one of 1, plan, 0: 1 explains beside the answer, plan does not run the query"
            ),
        )),
    }
}

/// The explanation as it is answered.
pub(super) fn value(explanation: &Explanation) -> Value {
    let mut fields = Map::new();
    fields.insert("query".into(), explanation.query.as_str().into());
    fields.insert("steps".into(), explanation.steps.into());
    fields.insert("lookbackSeconds".into(), seconds(explanation.lookback.0).into());
    fields.insert("planningSeconds".into(), explanation.planning.as_secs_f64().into());
    fields.insert("estimated".into(), estimated(&explanation.estimate()));
    if explanation.is_run {
        fields.insert("measured".into(), measured(&explanation.cost()));
    }
    fields.insert("plan".into(), node(&explanation.plan, explanation.is_run));
    fields.insert("hints".into(), explanation.hints.iter().map(hint).collect());
    Value::Object(fields)
}

fn node(plan: &PlanNode, is_run: bool) -> Value {
    let mut fields = Map::new();
    fields.insert("operation".into(), plan.operation.as_str().into());
    fields.insert("text".into(), plan.text.as_str().into());
    fields.insert("position".into(), plan.position.to_string().into());
    if let Some(read) = &plan.read {
        fields.insert("read".into(), read_value(read));
    }
    if let Some(cost) = plan.cost {
        let evaluations = (cost.evaluations != 1).then_some(cost.evaluations);
        fields.insert("seconds".into(), cost.time.as_secs_f64().into());
        fields.insert("series".into(), cost.series.into());
        fields.extend(evaluations.map(|n| ("evaluations".into(), n.into())));
    } else if is_run && (plan.read.is_some() || !plan.inputs.is_empty()) {
        fields.insert("streamed".into(), true.into());
    }
    if !plan.inputs.is_empty() {
        fields.insert("inputs".into(), plan.inputs.iter().map(|input| node(input, is_run)).collect());
    }
    Value::Object(fields)
}

fn read_value(read: &PlannedRead) -> Value {
    let time = |t: TimestampMs| seconds(t.0);
    let mut fields = Map::new();
    fields.insert("matchers".into(), read.matchers.iter().map(String::as_str).collect());
    fields.insert("after".into(), time(read.range.after).into());
    fields.insert("until".into(), time(read.range.until).into());
    fields.insert("tier".into(), "raw".into());
    fields.extend(read.estimate.map(|e| ("estimated".into(), estimated(&e))));
    fields.extend(read.cost.map(|c| ("measured".into(), measured(&c))));
    Value::Object(fields)
}

fn estimated(e: &Estimate) -> Value {
    json!({
        "shards": e.shards,
        "blocks": e.blocks,
        "series": e.series,
        "headSeries": e.head_series,
        "chunks": e.chunks,
        "bytes": e.bytes,
    })
}

fn measured(c: &SelectorCost) -> Value {
    json!({
        "series": c.series,
        "samples": c.samples,
        "chunks": c.cost.chunks,
        "bytes": c.cost.bytes,
        "readSeconds": c.time.as_secs_f64(),
    })
}

fn hint(hint: &Hint) -> Value {
    let mut fields = Map::new();
    fields.insert("position".into(), hint.position.to_string().into());
    fields.insert("text".into(), hint.text.as_str().into());
    fields.extend(hint.suggestion.as_ref().map(|s| ("suggestion".into(), s.as_str().into())));
    Value::Object(fields)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
