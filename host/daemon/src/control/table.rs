//! Aligned columns for a person.

/// Rows below their headings; columns that hold numbers only are set to the right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let is_number = |cell: &String| cell.chars().all(|c| c.is_ascii_digit() || c == '-');
    let right = |column: usize| rows.iter().filter_map(|row| row.get(column)).all(is_number);
    let columns: Vec<(usize, bool)> = (0..headings.len()).map(|column| (width(column), right(column))).collect();
    let line = |cells: Vec<&str>| {
        let set = cells.iter().zip(&columns).map(|(cell, (width, right))| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        set.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(headings.to_vec());
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(head).chain(body).collect::<Vec<_>>().join("\n")
}

/// `{a: 1, b: 2}` as `a 1, b 2`; `-` where there is nothing.
pub fn by_reason(counts: &std::collections::BTreeMap<String, u64>) -> String {
    match counts.is_empty() {
        true => "-".to_owned(),
        false => counts.iter().map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = vec![vec!["app".to_owned(), "7".to_owned()], vec!["nginx".to_owned(), "1234".to_owned()]];
        assert_eq!(table(&["source", "n"], &rows), "source     n\napp        7\nnginx   1234");
    }
}
