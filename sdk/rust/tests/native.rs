//! A filter and an edit run natively: no WASM is needed to test a plugin's logic.

use sawlog_plugin::testing::{BatchBuilder, configure, process};
use sawlog_plugin::{Edits, Fate, UpdateBuilder};

sawlog_plugin::filter! {
    /// Drops what is only of use to developers.
    name: "no-debug",
    columns: ["level"],
    keep: |row| row.bytes(0) != Some(b"debug"),
}

#[test]
fn a_filter_is_one_function() {
    let (mut filter, registration) = configure::<Filter>("{}").expect("configures");
    assert_eq!(registration.columns, ["level"]);
    let levels: Vec<_> = (0..130).map(|i| if i % 2 == 0 { Some("debug") } else { None }).collect();
    let edits = process(&mut filter, &BatchBuilder::new(130).text(&levels).build()).expect("keeps");
    assert_eq!(edits.keep, [0xaaaa_aaaa_aaaa_aaaa, 0xaaaa_aaaa_aaaa_aaaa, 0b10]);
}

#[test]
fn fates_and_updates_have_the_contracts_shape() {
    let mut edits = Edits::new(70);
    edits.decide(1, Fate::Drop(0));
    edits.decide(2, Fate::Drop(3));
    edits.decide(3, Fate::Absorb);
    edits.decide(69, Fate::Route(2));
    let mut update = UpdateBuilder::new("a");
    update.text(0, "x");
    update.remove(4);
    update.json(5, "1");
    edits.update(update);
    edits.update(UpdateBuilder::new("unchanged"));
    let raw = edits.into_raw();
    assert_eq!((raw.keep[0], raw.dropped), (!0b110, vec![(2, 3)]));
    assert_eq!((raw.absorbed, raw.routes[69]), (vec![0b1000, 0], 2));
    assert_eq!(raw.edits.len(), 1);
    let sawlog_plugin::bindings::types::Edit::Update(update) = &raw.edits[0] else { panic!("an update") };
    assert_eq!((&update.rows[..], &update.values.offsets[..]), (&[0, 4, 5][..], &[0, 1, 1, 2][..]));
    assert_eq!((update.values.present[0], update.values.json[0]), (0b101, 0b100));
}

#[test]
fn the_watermark_follows_the_newest_row() {
    let batch = BatchBuilder::new(3).times(&[50, 20, 80]).watermark(30).build();
    let batch = sawlog_plugin::Batch::new(&batch);
    let mut watermark = sawlog_plugin::Watermark::before(batch, 10);
    let moved: Vec<_> = batch.rows().map(|row| watermark.pass(row)).collect();
    assert_eq!(moved, [Some(40), None, Some(70)]);
}

#[test]
fn a_column_gives_values_and_gaps() {
    let batch = BatchBuilder::new(3).text(&[Some("a"), None, Some("")]).build();
    let batch = sawlog_plugin::Batch::new(&batch);
    assert_eq!(batch.column(0).collect::<Vec<_>>(), [Some(&b"a"[..]), None, Some(&b""[..])]);
}
