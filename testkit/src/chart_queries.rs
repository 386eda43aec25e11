//! The chart's queries to Prometheus: those of the dashboard, as Grafana sends them, and the expressions of the alerts.

use super::prometheus::{Labels, Point, Prometheus};
use super::promql::{selectors, unfiltered};
use serde_json::Value;
use std::fs;

const DASHBOARD: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/warren/dashboards/warren.json");

pub struct Query {
    /// Panel, annotation or alert that has the query.
    pub place: String,
    pub expression: String,
    /// Legend of the series, such as `{{pod}}`.
    pub legend: String,
    /// True for an instant query.
    pub instant: bool,
}

impl Query {
    /// The series of the result, each with its values of the last `seconds`.
    pub async fn ask(
        &self,
        prometheus: &Prometheus,
        seconds: f64,
    ) -> Result<Vec<(Labels, Vec<f64>)>, String> {
        if self.instant {
            let samples = prometheus.query(&self.expression).await?.into_iter();
            return Ok(samples.map(|it| (it.labels.clone(), vec![it.value()])).collect());
        }
        let series = prometheus.query_range(&self.expression, seconds, 1.0).await?.into_iter();
        Ok(series.map(|it| (it.labels, it.points.iter().map(Point::value).collect())).collect())
    }
}

/// The queries of panels and annotations, with the variables filled in. All namespaces and replicas are selected, and
/// `rate_interval` is Grafana's interval for rates.
pub async fn of_dashboard(prometheus: &Prometheus, rate_interval: &str) -> Vec<Query> {
    let board: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let mut filled = vec![("$__rate_interval".to_owned(), rate_interval.to_owned())];
    for variable in list(&board["templating"]["list"]) {
        if variable["type"] == "query" {
            let query = fill(text(&variable["query"]["query"]), &filled);
            let arguments = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
            let (selector, label) = arguments.and_then(|it| it.rsplit_once(", ")).unwrap();
            let values = prometheus.label_values(selector, label).await.unwrap();
            assert!(!values.is_empty(), "{query}: there is nothing to choose");
            // Several values become a pattern.
            let chosen = if variable["multi"] == true {
                format!("({})", values.join("|"))
            } else {
                values[0].clone()
            };
            filled.push((format!("${}", text(&variable["name"])), chosen));
        }
    }
    let annotations = list(&board["annotations"]["list"]).iter();
    let annotations = annotations.map(|it| (text(&it["name"]), it, text(&it["titleFormat"])));
    let panels = list(&board["panels"]).iter().filter(|panel| panel["type"] != "row");
    let targets = panels.flat_map(|panel| {
        let targets = list(&panel["targets"]).iter();
        targets.map(|target| (text(&panel["title"]), target, text(&target["legendFormat"])))
    });
    let query = |(place, it, legend): (&str, &Value, &str)| Query {
        place: place.to_owned(),
        expression: fill(text(&it["expr"]), &filled),
        legend: legend.to_owned(),
        instant: it["instant"] == true,
    };
    annotations.chain(targets).map(query).collect()
}

/// The selectors of the alerts' expressions, and the expressions without filters, which return data although no alert
/// fires.
pub async fn of_alerts(prometheus: &Prometheus) -> Vec<Query> {
    let mut queries = Vec::new();
    for rule in prometheus.rules().await {
        let parts = selectors(&rule.query).into_iter().map(str::to_owned);
        queries.extend(parts.chain([unfiltered(&rule.query)]).map(|expression| Query {
            place: rule.name.clone(),
            expression,
            legend: String::new(),
            instant: false,
        }));
    }
    queries
}

fn fill(text: &str, values: &[(String, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
