//! One metric as a row: how it is called, what it means, and how its points are read from a sample.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::sample::{Sample, Samples};
use super::table::ROWS;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A value with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The value, in the metric's unit.
    pub value: f64,
    /// Labels: names of components and words from fixed lists, never of files or pods.
    pub labels: Vec<(&'static str, String)>,
}

/// A metric.
pub struct Row {
    /// OpenTelemetry's name.
    pub name: &'static str,
    /// Unit in OpenTelemetry's spelling; `s` and `By` become part of Prometheus' name.
    pub unit: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Its labels, in the order of its points.
    pub labels: &'static str,
    /// What it means, for a person.
    pub about: &'static str,
    /// Its points in a sample.
    pub points: fn(&Sample) -> Vec<Point>,
}

impl Row {
    /// The name in Prometheus' text.
    #[cfg(test)]
    pub fn prometheus_name(&self) -> String {
        prometheus_name(self.name, self.unit, self.kind == Kind::Counter)
    }
}

/// The name in Prometheus' text of a metric with this name and unit.
#[cfg(test)]
pub fn prometheus_name(name: &str, unit: &str, is_counter: bool) -> String {
    let unit = match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    format!("{}{unit}{}", name.replace('.', "_"), if is_counter { "_total" } else { "" })
}

fn keys(point: &Point) -> String {
    point.labels.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ")
}

/// Makes an instrument of every row, which reads its points when somebody collects.
pub fn observe(meter: &Meter, samples: &Arc<Samples>) {
    for row in ROWS {
        let samples = samples.clone();
        let read = move || {
            let labelled = |point: Point| {
                debug_assert_eq!(row.labels, keys(&point), "labels of {} are not those of its row", row.name);
                let labels = point.labels.into_iter().map(|(key, value)| KeyValue::new(key, value));
                (point.value, labels.collect::<Vec<_>>())
            };
            samples.recent().map(|sample| (row.points)(&sample)).unwrap_or_default().into_iter().map(labelled)
        };
        // The instrument lives in the meter; the handle on it says nothing.
        match row.kind {
            Kind::Counter => drop(
                meter
                    .f64_observable_counter(row.name)
                    .with_unit(row.unit)
                    .with_description(row.about)
                    .with_callback(move |observer| read().for_each(|(value, labels)| observer.observe(value, &labels)))
                    .build(),
            ),
            Kind::Gauge => drop(
                meter
                    .f64_observable_gauge(row.name)
                    .with_unit(row.unit)
                    .with_description(row.about)
                    .with_callback(move |observer| read().for_each(|(value, labels)| observer.observe(value, &labels)))
                    .build(),
            ),
        }
    }
}
