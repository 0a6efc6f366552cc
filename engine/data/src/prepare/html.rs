//! The report as one page that needs no other file: what came, what went and why, with samples to judge the filters by.

use std::fmt::Write;

use psann_core::quantity::grouped;
use serde_json::Value;

use super::distribution::Distribution;
use super::report::{Amount, FilterReport, PrepareReport, Sample, text_size};

const STYLE: &str = "
:root { color-scheme: light dark; --bar: #4a7dbd; --drop: #c2593f; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: inline-block; height: .7rem; background: var(--bar); vertical-align: middle; }
.bar.drop { background: var(--drop); }
.charts { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
figure { margin: 0; } figcaption { font-size: .85em; }
blockquote { margin: .3rem 0 .8rem; padding: .3rem .8rem; border-left: 3px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre { font-size: .9em; overflow-wrap: anywhere; white-space: pre-wrap; }
small { opacity: .75; }
";

/// The page.
pub fn page(report: &PrepareReport) -> String {
    let mut html = String::new();
    html.push_str("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n<title>Prepared corpus</title>\n");
    push(
        &mut html,
        format_args!("<style>{STYLE}</style>\n<h1>Prepared corpus</h1>\n<p>{}</p>\n", escape(&report.summary())),
    );
    warnings(&mut html, report);
    funnel(&mut html, report);
    for filter in &report.filters {
        section(&mut html, filter);
    }
    html.push_str("<h2>Data card</h2>\n<pre>");
    html.push_str(&escape(&data_card(report)));
    html.push_str("</pre>\n</html>\n");
    html
}

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = html.write_fmt(text);
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn warnings(html: &mut String, report: &PrepareReport) {
    let lines: Vec<String> = report.warnings().into_iter().chain(report.made_of.notes.iter().cloned()).collect();
    if !lines.is_empty() {
        html.push_str("<h2>Look at this</h2>\n<ul>\n");
        for line in &lines {
            push(html, format_args!("<li>{}</li>\n", escape(line)));
        }
        html.push_str("</ul>\n");
    }
}

fn funnel(html: &mut String, report: &PrepareReport) {
    html.push_str("<h2>Funnel</h2>\n<table>\n<tr><th>step</th><th class=\"n\">documents</th><th class=\"n\">text</th>");
    html.push_str("<th class=\"n\">dropped</th><th>left of what was read</th></tr>\n");
    let mut row = |name: &str, amount: Amount, dropped: Option<u64>| {
        let share = amount.bytes as f64 / report.read.bytes.max(1) as f64;
        let dropped = dropped.map(grouped).unwrap_or_default();
        push(
            html,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{dropped}</td>\
                 <td><span class=\"bar\" style=\"width:{:.1}rem\"></span> {:.1} %</td></tr>\n",
                escape(name),
                grouped(amount.documents),
                text_size(amount.bytes),
                share.min(1.5) * 12.0,
                share * 100.0
            ),
        );
    };
    row("read", report.read, None);
    for filter in &report.filters {
        row(&filter.name, filter.kept, Some(filter.dropped_documents()));
    }
    row("to train on", report.train, None);
    row("held out", report.validation, None);
    html.push_str("</table>\n");
}

fn section(html: &mut String, filter: &FilterReport) {
    push(html, format_args!("<h2>{}</h2>\n", escape(&filter.name)));
    if !filter.dropped.is_empty() {
        html.push_str("<table>\n<tr><th>reason</th><th class=\"n\">documents</th><th class=\"n\">text</th><th>of what it saw</th></tr>\n");
        for (reason, amount) in &filter.dropped {
            let share = amount.documents as f64 / filter.seen.documents.max(1) as f64;
            push(
                html,
                format_args!(
                    "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                     <td><span class=\"bar drop\" style=\"width:{:.1}rem\"></span> {:.2} %</td></tr>\n",
                    escape(reason),
                    grouped(amount.documents),
                    text_size(amount.bytes),
                    share * 12.0,
                    share * 100.0
                ),
            );
        }
        html.push_str("</table>\n");
    }
    let counts: Vec<String> = filter
        .counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name}: {}", grouped(*count)))
        .collect();
    if !counts.is_empty() {
        push(html, format_args!("<p>{}</p>\n", escape(&counts.join(" · "))));
    }
    if let Some(clusters) = &filter.clusters {
        push(
            html,
            format_args!(
                "<p>{} groups of copies; the largest has {} members.</p>\n",
                grouped(clusters.clusters),
                grouped(clusters.largest)
            ),
        );
        html.push_str("<div class=\"charts\">");
        chart(html, "members of a group", &clusters.sizes);
        html.push_str("</div>\n");
    }
    if !filter.scores.is_empty() {
        html.push_str("<div class=\"charts\">\n");
        filter.scores.iter().for_each(|(name, distribution)| chart(html, name, distribution));
        html.push_str("</div>\n");
    }
    if !filter.details.is_null() {
        details(html, &filter.details);
    }
    for (reason, samples) in &filter.samples {
        push(html, format_args!("<details><summary>samples: {}</summary>\n", escape(reason)));
        for one in samples {
            sample(html, one);
        }
        html.push_str("</details>\n");
    }
}

fn sample(html: &mut String, sample: &Sample) {
    let names = [Some(&sample.document), sample.id.as_ref(), sample.url.as_ref()];
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    push(
        html,
        format_args!(
            "<small>{} <code>{}</code></small>\n<blockquote>{}</blockquote>\n",
            escape(&names.join(" · ")),
            escape(&sample.details.to_string()),
            escape(&sample.excerpt)
        ),
    );
}

/// What a filter reports of its own: objects of equal shape as a table, plain values as a line, the rest as data.
fn details(html: &mut String, details: &Value) {
    let Some(parts) = details.as_object() else { return data(html, "details", details) };
    let plain: Vec<String> = parts
        .iter()
        .filter(|(_, value)| is_plain(value))
        .map(|(name, value)| format!("{name}: {}", shown(value)))
        .collect();
    if !plain.is_empty() {
        push(html, format_args!("<p>{}</p>\n", escape(&plain.join(" · "))));
    }
    for (name, value) in parts.iter().filter(|(_, value)| !is_plain(value)) {
        match table(value) {
            Some(table) => push(html, format_args!("<h3>{}</h3>\n{table}", escape(name))),
            None => data(html, name, value),
        }
    }
}

fn is_plain(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(count) => count.as_u64().map_or_else(|| count.to_string(), grouped),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An object whose values are objects of plain values, as a table with a row for each.
fn table(value: &Value) -> Option<String> {
    let rows = value.as_object().filter(|rows| !rows.is_empty())?;
    let columns: Vec<&String> = rows.values().next()?.as_object()?.keys().collect();
    let mut html = "<table>\n<tr><th></th>".to_owned();
    for column in &columns {
        push(&mut html, format_args!("<th class=\"n\">{}</th>", escape(column)));
    }
    html.push_str("</tr>\n");
    for (name, row) in rows {
        push(&mut html, format_args!("<tr><td>{}</td>", escape(name)));
        for column in &columns {
            let cell = row.get(column.as_str()).filter(|cell| is_plain(cell))?;
            push(&mut html, format_args!("<td class=\"n\">{}</td>", escape(&shown(cell))));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
    Some(html)
}

fn data(html: &mut String, name: &str, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    push(html, format_args!("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(name), escape(&text)));
}

/// Bars of a chart.
const BARS: usize = 30;

/// A histogram: equal steps between the smallest and the largest of the middle 99 %, the tails in the outer bars.
fn chart(html: &mut String, name: &str, distribution: &Distribution) {
    let (Some(low), Some(high)) = (distribution.quantile(0.005), distribution.quantile(0.995)) else { return };
    let step = if high > low { (high - low) / BARS as f64 } else { 1.0 };
    let mut bars = [0_u64; BARS];
    for (value, count) in distribution.values() {
        let bar = ((value - low) / step).floor().clamp(0.0, (BARS - 1) as f64) as usize;
        bars[bar] += count;
    }
    let most = bars.iter().copied().max().unwrap_or(1).max(1);
    push(
        html,
        format_args!(
            "<figure><svg width=\"240\" height=\"70\" role=\"img\" aria-label=\"{}\">",
            escape(&format!("distribution of {name}"))
        ),
    );
    for (index, count) in bars.iter().enumerate() {
        let height = (*count as f64 / most as f64 * 68.0).max(f64::from(u8::from(*count > 0)));
        push(
            html,
            format_args!(
                "<rect x=\"{}\" y=\"{:.1}\" width=\"7\" height=\"{height:.1}\" fill=\"#4a7dbd\"><title>{}</title></rect>",
                index * 8,
                70.0 - height,
                grouped(*count)
            ),
        );
    }
    let median = distribution.quantile(0.5).unwrap_or(low);
    push(
        html,
        format_args!(
            "</svg><figcaption>{}<br><small>{low} to {high}, median {median}</small></figcaption></figure>\n",
            escape(name)
        ),
    );
}

/// A text that can stand beside a published corpus: what it is, what was done, what was taken out.
pub fn data_card(report: &PrepareReport) -> String {
    let mut card = String::new();
    let source = report.made_of.source.as_ref();
    push(&mut card, format_args!("Prepared by psann {}.\n\n", report.made_of.psann));
    if let Some(source) = source {
        push(&mut card, format_args!("Source: {} {}\n", source.name, source.options));
    }
    push(
        &mut card,
        format_args!(
            "Read: {} documents, {} of text.\nKept: {} documents, {} to train on; {} documents, {} held out.\n\nSteps, in order:\n",
            grouped(report.read.documents),
            text_size(report.read.bytes),
            grouped(report.train.documents),
            text_size(report.train.bytes),
            grouped(report.validation.documents),
            text_size(report.validation.bytes)
        ),
    );
    for (filter, made_of) in report.filters.iter().zip(&report.made_of.filters) {
        push(
            &mut card,
            format_args!(
                "- {} {}: kept {} of {} documents\n",
                filter.name,
                made_of.options,
                grouped(filter.kept.documents),
                grouped(filter.seen.documents)
            ),
        );
        for (reason, amount) in &filter.dropped {
            push(
                &mut card,
                format_args!("    {reason}: {} documents, {}\n", grouped(amount.documents), text_size(amount.bytes)),
            );
        }
    }
    card
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::sample;
    use super::super::rows::Place;
    use super::*;

    #[test]
    fn the_page_shows_every_reason_and_escapes_what_it_shows() {
        let mut filter = FilterReport::new("short");
        filter.seen = Amount { documents: 1200, bytes: 5_000_000 };
        filter.kept = Amount { documents: 1199, bytes: 4_999_000 };
        filter.drop_one("too <short>", 10, Place::new(1, 2), || {
            sample(Place::new(1, 2), Some("a&b"), None, "<script>alert(1)</script>", json!({ "words": 1 }))
        });
        filter.scores.entry("words".into()).or_default().add(3.0);
        filter.details = json!({ "documents": 7, "sets": { "piqa": { "items": 12 } }, "odd": [1, { "a": 2 }] });
        let report = PrepareReport { read: filter.seen, filters: vec![filter], ..PrepareReport::default() };
        let page = page(&report);
        for wanted in [
            "too &lt;short&gt;",
            "1,199",
            "a&amp;b",
            "&lt;script&gt;",
            "distribution of words",
            "1-2",
            "<p>documents: 7</p>",
            "<td>piqa</td><td class=\"n\">12</td>",
            "<summary>odd</summary>",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        assert!(!page.contains("<script>"));
    }
}
