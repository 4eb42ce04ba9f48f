//! Named values, each a JSON token, in their order; of a name that comes twice the last value counts, at the first place.

use sawlog_plugin::hash64;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Above so many members names are looked up in a tree, by their hash first: comparing texts is dear in WASM.
const DIRECT_SEARCH_MAX: usize = 16;
/// Members of one text. More would cost more than the usual `limits.fuel` of a record allows.
pub const MEMBERS_MAX: usize = 512;

/// What was read from one text.
#[derive(Default)]
pub struct Members<'a> {
    all: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Places by hash and name, once there are many.
    places: BTreeMap<(u64, Cow<'a, str>), usize>,
    /// There were more than are taken.
    are_too_many: bool,
}

/// `text` as a JSON token.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    sawlog_plugin::record::quote(text, &mut out);
    out
}

impl<'a> Members<'a> {
    /// Sets member `name` to `token`, valid JSON without line breaks between its tokens.
    pub fn put(&mut self, name: impl Into<Cow<'a, str>>, token: impl Into<Cow<'a, str>>) {
        let (name, token) = (name.into(), token.into());
        match self.place_of(&name) {
            Some(place) => self.all[place].1 = token,
            None if self.all.len() == MEMBERS_MAX => self.are_too_many = true,
            None => {
                self.all.push((name, token));
                if self.all.len() > DIRECT_SEARCH_MAX {
                    self.index();
                }
            }
        }
    }

    /// Sets member `name` to a text.
    pub fn put_text(&mut self, name: impl Into<Cow<'a, str>>, text: &str) {
        self.put(name, quoted(text));
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        if self.all.len() <= DIRECT_SEARCH_MAX {
            return self.all.iter().position(|(other, _)| other == name);
        }
        self.places.get(&(hash64(name.as_bytes()), Cow::Borrowed(name))).copied()
    }

    /// Notes the places of members that are not noted yet.
    fn index(&mut self) {
        for place in self.places.len()..self.all.len() {
            let name = self.all[place].0.clone();
            self.places.insert((hash64(name.as_bytes()), name), place);
        }
    }

    /// There were more than are taken: the text need not be read on, it will be refused.
    pub fn are_too_many(&self) -> bool {
        self.are_too_many
    }

    /// Refuses more members than are taken.
    pub fn check(&self) -> Result<(), String> {
        if self.are_too_many {
            return Err(format!("there are more than {MEMBERS_MAX} members"));
        }
        Ok(())
    }

    /// Whether there is a member `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.place_of(name).is_some()
    }

    /// Name and token of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, token)| (&**name, &**token))
    }

    /// All as one JSON object.
    pub fn object(&self) -> String {
        let mut out = String::from("{");
        for (name, token) in self.iter() {
            if out.len() > 1 {
                out.push(',');
            }
            sawlog_plugin::record::quote(name, &mut out);
            out.push(':');
            out.push_str(token);
        }
        out.push('}');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts_at_the_first_place_however_many_there_are() {
        let mut members = Members::default();
        for round in 0..2 {
            for i in 0..100 {
                members.put(format!("n{i}"), (round * 100 + i).to_string());
            }
        }
        let expected: Vec<String> = (0..100).map(|i| format!("\"n{i}\":{}", 100 + i)).collect();
        assert_eq!(members.object(), format!("{{{}}}", expected.join(",")));
        assert!(members.contains("n99") && !members.contains("n100"));
    }
}
