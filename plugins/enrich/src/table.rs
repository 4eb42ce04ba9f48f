//! The table: rows by key, from comma-separated values with a header or from JSON objects, one a line.

use plugin_text::csv;
use std::collections::HashMap;

/// Rows that are kept in memory.
const ROWS_MAX: usize = 1_000_000;

/// Values by key, in the order of the columns.
pub struct Table {
    columns: Vec<String>,
    rows: HashMap<String, Vec<String>>,
}

impl Table {
    /// Reads `text`; it is JSON if it begins with a brace. `columns` are those wanted, none = all but the key.
    pub fn read(text: &str, key: &str, columns: &[String], ignore_case: bool) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let mut table = Self { columns: columns.to_vec(), rows: HashMap::new() };
        if text.trim_start().starts_with('{') {
            table.read_json(lines, key)?
        } else {
            table.read_csv(lines, key)?
        }
        if ignore_case {
            table.rows = table.rows.into_iter().map(|(key, values)| (key.to_lowercase(), values)).collect();
        }
        Ok(table)
    }

    fn read_csv<'a>(&mut self, mut lines: impl Iterator<Item = (usize, &'a str)>, key: &str) -> Result<(), String> {
        let Some((_, header)) = lines.next() else {
            return Err("the table is empty; its first line names the columns".into());
        };
        let header = csv::values(header, ',').map_err(|e| format!("line 1: {e}"))?;
        let place = |name: &str| {
            let found = header.iter().position(|column| column == name);
            found.ok_or_else(|| format!("line 1 has no column {name:?}, it has [{}]", header.join(", ")))
        };
        let key_at = place(key)?;
        if self.columns.is_empty() {
            self.columns = header.iter().filter(|column| *column != key).cloned().collect();
        }
        let places = self.columns.iter().map(|column| place(column)).collect::<Result<Vec<_>, _>>()?;
        for (index, line) in lines {
            let values = csv::values(line, ',').map_err(|e| format!("line {}: {e}", index + 1))?;
            if values.len() != header.len() {
                return Err(format!("line {} has {} values, the header has {}", index + 1, values.len(), header.len()));
            }
            let row = places.iter().map(|at| values[*at].clone()).collect();
            self.add(index, values[key_at].clone(), row)?;
        }
        Ok(())
    }

    fn read_json<'a>(&mut self, lines: impl Iterator<Item = (usize, &'a str)>, key: &str) -> Result<(), String> {
        let mut objects = Vec::new();
        for (index, line) in lines {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).map_err(|e| format!("line {}: {e}", index + 1))?;
            objects.push((index, object));
        }
        if self.columns.is_empty() {
            let names = objects.iter().flat_map(|(_, object)| object.keys()).filter(|name| *name != key);
            self.columns = names.cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        }
        let text = |value: Option<&serde_json::Value>| match value {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        for (index, object) in &objects {
            let Some(found) = object.get(key) else { return Err(format!("line {} has no member {key:?}", index + 1)) };
            let row = self.columns.iter().map(|column| text(object.get(column))).collect();
            self.add(*index, text(Some(found)), row)?;
        }
        Ok(())
    }

    fn add(&mut self, index: usize, key: String, row: Vec<String>) -> Result<(), String> {
        if self.rows.len() >= ROWS_MAX {
            return Err(format!("more than {ROWS_MAX} rows"));
        }
        match self.rows.insert(key.clone(), row) {
            Some(_) => Err(format!("line {}: key {key:?} stands in the table twice", index + 1)),
            None => Ok(()),
        }
    }

    /// The columns that a row gives.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values of `key`.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.rows.get(key).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_the_same_rows() {
        let csv = Table::read("host,team,floor\nweb-1,shop,3\nweb-2,\"a, b\",\n", "host", &[], false).expect("a table");
        let json = "{\"host\":\"web-1\",\"team\":\"shop\",\"floor\":3}\n{\"host\":\"web-2\",\"team\":\"a, b\"}\n";
        let json = Table::read(json, "host", &["team".into(), "floor".into()], false).expect("a table");
        assert_eq!(csv.columns(), ["team", "floor"]);
        for key in ["web-1", "web-2", "web-3"] {
            assert_eq!(csv.get(key), json.get(key), "{key}");
        }
    }

    #[test]
    fn a_mistake_in_the_table_is_named_with_its_line() {
        let told = |text: &str| Table::read(text, "k", &[], false).err().expect("refused");
        assert!(told("").contains("empty"));
        assert!(told("a,b\n1,2\n").contains("no column \"k\""));
        assert!(told("k,b\n1\n").contains("line 2 has 1 values"));
        assert!(told("k,b\n1,2\n1,3\n").contains("line 3: key \"1\""));
        assert!(told("k,b\n1,\"2\n").contains("line 2: a quoted value"));
        assert!(told("{\"x\":1}").contains("no member \"k\""));
    }
}
