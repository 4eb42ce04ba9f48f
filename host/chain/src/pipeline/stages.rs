//! One stage of a pipeline and what it does to a flow of rows.

use super::flow::{Flow, From};
use crate::Plugin;
use crate::apply::Columns;
use sawlog_record::decode::Decoder;
use sawlog_record::expr::Expr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a stage does.
#[derive(Clone)]
pub enum Stage {
    /// Reads the source's records; only directly behind the source.
    Decode(Arc<Decoder>),
    /// Passes on the rows that match; the others are dropped as `filtered`.
    Filter(Arc<Expr>),
    /// Output 1 + i has the rows that meet condition i; rows that meet none go to `unmatched`, or are `not_routed`.
    Route {
        /// Conditions in the order of the outputs.
        conditions: Vec<Arc<Expr>>,
        /// The output of rows that meet none.
        unmatched: Option<u8>,
    },
    /// Runs a plugin; its routes are outputs 1 + i.
    Plugin {
        /// The plugin.
        plugin: Plugin,
        /// The columns that it reads.
        columns: Arc<Columns>,
        /// Whether what it can't take is dropped, instead of going to the dead letters.
        drops_rejected: bool,
    },
}

/// A stage in its place.
#[derive(Clone)]
pub struct Node {
    /// Number of the component in row ids, verdicts and saved states.
    pub component: u8,
    /// Its name, as plugins see it in `input` and dead letters in their reason.
    pub name: String,
    /// Where it stands in the configuration, as dead letters say it: the transform, and for plugins `.N`, the place in its
    /// chain.
    pub place: String,
    /// Where its rows come from.
    pub inputs: Vec<From>,
    /// What it does.
    pub stage: Stage,
}

/// Rows of `flow` that match; the others by their parents.
pub(super) fn filter(flow: Flow, condition: &Expr) -> (Flow, Vec<u32>) {
    let (kept, dropped): (Vec<u32>, Vec<u32>) =
        flow.rows.iter().partition(|row| condition.matches(&flow.batch, &flow.batch.rows[**row as usize]));
    let parents = dropped.iter().map(|row| flow.batch.rows[*row as usize].parent).collect();
    (Flow { batch: flow.batch, rows: kept }, parents)
}

/// Rows of `flow` by output.
pub(super) fn route(flow: &Flow, conditions: &[Arc<Expr>], unmatched: Option<u8>) -> BTreeMap<u8, Flow> {
    let mut outputs: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    for row in &flow.rows {
        let mut taken = false;
        for (i, condition) in conditions.iter().enumerate() {
            if condition.matches(&flow.batch, &flow.batch.rows[*row as usize]) {
                outputs.entry(i as u8 + 1).or_default().push(*row);
                taken = true;
            }
        }
        if let Some(output) = unmatched.filter(|_| !taken) {
            outputs.entry(output).or_default().push(*row);
        }
    }
    outputs.into_iter().map(|(output, rows)| (output, Flow { batch: flow.batch.clone(), rows })).collect()
}
