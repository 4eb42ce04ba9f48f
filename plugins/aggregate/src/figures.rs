//! What a window gathers. Quantiles come from a histogram whose buckets grow by 2 %: a value is told within 1 %, in bounded
//! memory, the same on every machine.

use sawlog_plugin::FieldValue;
use sawlog_plugin::windows::Gather;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much larger a bucket's end is than its start.
const GROWTH: f64 = 1.02;
/// Buckets of one histogram; the smallest values share the last one.
const BUCKETS_MAX: usize = 512;

/// A figure that is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Metric {
    /// Of records.
    Count {
        name: String,
    },
    Sum {
        name: String,
        field: String,
    },
    Min {
        name: String,
        field: String,
    },
    Max {
        name: String,
        field: String,
    },
    Mean {
        name: String,
        field: String,
    },
    /// One field each: `name_p50`.
    Quantiles {
        name: String,
        field: String,
        of: Vec<f64>,
    },
}

impl Metric {
    /// The field that it reads.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Count { .. } => None,
            Self::Sum { field, .. }
            | Self::Min { field, .. }
            | Self::Max { field, .. }
            | Self::Mean { field, .. }
            | Self::Quantiles { field, .. } => Some(field),
        }
    }
}

/// Whether the metrics can be: every quantile lies between 0 and 1.
pub fn check(metrics: &[Metric]) -> Result<(), String> {
    for metric in metrics {
        if let Metric::Quantiles { name, of, .. } = metric
            && let Some(wrong) = of.iter().find(|quantile| !(0.0..=1.0).contains(*quantile))
        {
            return Err(format!("metric {name:?}: {wrong} is no quantile; expected 0 to 1, such as 0.99"));
        }
    }
    Ok(())
}

/// The figures of one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    records: u64,
    numbers: Vec<Numbers>,
}

/// What became of the values of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Numbers {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    /// By bucket; only quantiles fill it.
    buckets: BTreeMap<i32, u64>,
}

impl Figures {
    /// Takes a record in: its value for each metric, if it has a number there.
    pub fn take(&mut self, metrics: &[Metric], values: &[Option<f64>]) {
        self.records += 1;
        self.numbers.resize_with(metrics.len(), Numbers::default);
        for ((numbers, metric), value) in self.numbers.iter_mut().zip(metrics).zip(values) {
            if let Some(value) = value {
                numbers.take(*value, matches!(metric, Metric::Quantiles { .. }));
            }
        }
    }

    /// The figures as fields; one that no record had a number for is missing.
    pub fn fields(&self, metrics: &[Metric]) -> Vec<(String, FieldValue)> {
        let mut fields = Vec::new();
        for (metric, numbers) in metrics.iter().zip(&self.numbers) {
            let number = |name: &str, value: f64| (numbers.count > 0).then(|| (name.to_owned(), of_number(value)));
            match metric {
                Metric::Count { name } => fields.push((name.clone(), FieldValue::Integer(self.records as i64))),
                Metric::Sum { name, .. } => fields.extend(number(name, numbers.sum)),
                Metric::Min { name, .. } => fields.extend(number(name, numbers.min)),
                Metric::Max { name, .. } => fields.extend(number(name, numbers.max)),
                Metric::Mean { name, .. } => fields.extend(number(name, numbers.sum / numbers.count as f64)),
                Metric::Quantiles { name, of, .. } => {
                    for quantile in of {
                        let percent = format!("{}", (quantile * 10_000.0).round() / 100.0);
                        fields.extend(number(
                            &format!("{name}_p{}", percent.replace('.', "_")),
                            numbers.quantile(*quantile),
                        ));
                    }
                }
            }
        }
        fields
    }
}

/// Whole numbers are written as such.
fn of_number(value: f64) -> FieldValue {
    let whole = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
    if whole { FieldValue::Integer(value as i64) } else { FieldValue::Number(value) }
}

impl Numbers {
    fn take(&mut self, value: f64, with_buckets: bool) {
        (self.min, self.max) = match self.count {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        self.count += 1;
        self.sum += value;
        if with_buckets {
            *self.buckets.entry(bucket(value)).or_default() += 1;
            self.bound();
        }
    }

    fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        (self.min, self.max) = match self.count {
            0 => (other.min, other.max),
            _ => (self.min.min(other.min), self.max.max(other.max)),
        };
        self.count += other.count;
        self.sum += other.sum;
        for (bucket, count) in other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
        self.bound();
    }

    fn bound(&mut self) {
        while self.buckets.len() > BUCKETS_MAX
            && let Some((_, count)) = self.buckets.pop_first()
            && let Some(mut next) = self.buckets.first_entry()
        {
            *next.get_mut() += count;
        }
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let rank = (quantile * (self.count - 1) as f64).round() as u64;
        if rank == 0 {
            return self.min;
        }
        let mut below = 0;
        for (bucket, count) in &self.buckets {
            below += count;
            if below > rank {
                return middle(*bucket).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

/// The bucket of `value`: negative ones below 0, nothing in the middle.
fn bucket(value: f64) -> i32 {
    let size = value.abs();
    if size < 1e-9 {
        return 0;
    }
    // The smallest size has number 1.
    let number = ((size.ln() - 1e-9_f64.ln()) / GROWTH.ln()).floor() as i32 + 1;
    if value < 0.0 { -number } else { number }
}

fn middle(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let size = (1e-9_f64.ln() + (f64::from(bucket.abs()) - 0.5) * GROWTH.ln()).exp();
    // Six digits: more would say more than is known.
    let digits = 10_f64.powi(5 - size.log10().floor() as i32);
    let size = (size * digits).round() / digits;
    if bucket < 0 { -size } else { size }
}

impl Gather for Figures {
    fn merge(&mut self, later: Self) {
        self.records += later.records;
        self.numbers.resize_with(self.numbers.len().max(later.numbers.len()), Numbers::default);
        self.numbers.iter_mut().zip(later.numbers).for_each(|(own, other)| own.merge(other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_percent() {
        let mut numbers = Numbers::default();
        (1..=10_000).for_each(|n| numbers.take(f64::from(n), true));
        for (quantile, expected) in [(0.0, 1.0), (0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = numbers.quantile(quantile);
            assert!((found - expected).abs() <= 0.011 * expected, "{quantile}: {found}");
        }
        let mut signs = Numbers::default();
        [-5.0, -1.0, 0.0, 1.0, 5.0].into_iter().for_each(|n| signs.take(n, true));
        assert_eq!((signs.quantile(0.5), signs.quantile(0.0)), (0.0, -5.0));
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut numbers = Numbers::default();
        (-3_000..3_000).for_each(|n| numbers.take(1.05_f64.powi(n % 600) * f64::from(n.signum()), true));
        assert!(numbers.buckets.len() <= BUCKETS_MAX);
        assert_eq!(numbers.buckets.values().sum::<u64>(), 6_000);
    }
}
