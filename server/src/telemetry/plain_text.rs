//! The older text format, for scrapers that do not ask for OpenMetrics.

use std::fmt::Write;

/// `openmetrics` as version 0.0.4 of Prometheus' text format has it: a counter is named with its `_total`, and neither units nor the
/// end are told.
pub fn plain_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ');
        } else if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|told| told.split_once(' '))
        {
            put_family(&mut text, family, kind, help.take());
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn put_family(text: &mut String, family: &str, kind: &str, help: Option<(&str, &str)>) {
    let (suffix, kind) = match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "gauge" | "histogram" | "summary" => ("", kind),
        _ => ("", "untyped"),
    };
    if let Some((_, help)) = help.filter(|(of, _)| *of == family) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {family}{suffix} {help}");
    }
    let _ = writeln!(text, "# TYPE {family}{suffix} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_their_samples_are() {
        let openmetrics = "# HELP a Things.\n# TYPE a counter\na_total{x=\"# b\"} 1\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                           # HELP c_seconds Time.\n# TYPE c_seconds histogram\n# UNIT c_seconds seconds\nc_seconds_sum 2.0\n\
                           # TYPE d unknown\nd 3\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"# b\"} 1\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                        # HELP c_seconds Time.\n# TYPE c_seconds histogram\nc_seconds_sum 2.0\n# TYPE d untyped\nd 3\n";
        assert_eq!(plain_text(openmetrics), expected);
    }
}
