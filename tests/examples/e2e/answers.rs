//! Answers of the query API, and whether two of them are the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// How far two floats may be apart, relative to the greater one: different orders of summation.
pub(crate) const TOLERANCE: f64 = 1e-9;

/// Points by time, as the milliseconds that they are in both servers.
type Points = BTreeMap<i64, f64>;

/// An answer as series by their labels.
#[derive(Debug)]
pub(crate) struct Answer(BTreeMap<String, Points>);

impl Answer {
    /// Reads the `data` of an answer.
    pub(crate) fn read(data: &Value) -> Result<Self, String> {
        let wrong = || format!("no answer to a query: {data}");
        let result = &data["result"];
        let mut series = BTreeMap::new();
        match data["resultType"].as_str().ok_or_else(wrong)? {
            "vector" | "matrix" => {
                for item in result.as_array().ok_or_else(wrong)? {
                    let points = points_of(item).ok_or_else(wrong)?;
                    if series.insert(item["metric"].to_string(), points).is_some() {
                        return Err(format!("{} comes twice", item["metric"]));
                    }
                }
            }
            _ => _ = series.insert(String::new(), BTreeMap::from([point(result).ok_or_else(wrong)?])),
        }
        Ok(Self(series))
    }

    pub(crate) fn series(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn points(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// All values, in the order of labels and times.
    pub(crate) fn values(&self) -> Vec<f64> {
        self.0.values().flat_map(|points| points.values().copied()).collect()
    }
}

fn points_of(item: &Value) -> Option<Points> {
    match item["values"].as_array() {
        Some(points) => points.iter().map(point).collect(),
        None => Some(BTreeMap::from([point(&item["value"])?])),
    }
}

fn point(pair: &Value) -> Option<(i64, f64)> {
    let ms = (pair[0].as_f64()? * 1000.0).round() as i64;
    Some((ms, pair[1].as_str()?.parse().ok()?))
}

/// The first difference, if there is one.
pub(crate) fn compare(expected: &Answer, found: &Answer, tolerance: f64) -> Result<(), String> {
    if let Some(labels) = found.0.keys().find(|labels| !expected.0.contains_key(*labels)) {
        return Err(format!("{labels} should not be there"));
    }
    for (labels, points) in &expected.0 {
        let other = found.0.get(labels).ok_or_else(|| format!("{labels} is missing"))?;
        let mut times = points.keys().chain(other.keys());
        if let Some(t) = times.find(|t| !same(points.get(t), other.get(t), tolerance)) {
            return Err(format!(
                "{labels} at {t} ms: expected {:?}, found {:?}",
                points.get(t),
                other.get(t)
            ));
        }
    }
    Ok(())
}

fn same(a: Option<&f64>, b: Option<&f64>, tolerance: f64) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

/// A list without regard to order.
pub(crate) fn sorted(list: &Value) -> Vec<String> {
    let mut items: Vec<_> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
    items.sort_unstable();
    items
}
