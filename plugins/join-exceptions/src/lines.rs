//! The shapes of lines: which line begins an exception of which language, and which lines go on with it.

use serde::{Deserialize, Serialize};

/// A language whose exceptions are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// And Kotlin, Scala.
    Java,
    Python,
    Go,
    Node,
    Ruby,
    #[serde(rename = "dotnet")]
    DotNet,
}

impl Language {
    /// All that are known.
    pub const ALL: [Self; 6] = [Self::Java, Self::Python, Self::Go, Self::Node, Self::Ruby, Self::DotNet];
}

/// A line that begins an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begins(Language);

impl Begins {
    /// Which exception of `languages` begins with `line`.
    pub fn of(line: &str, languages: &[Language]) -> Option<Self> {
        languages.iter().copied().find(|language| begins(line, *language)).map(Self)
    }

    /// What goes on with it.
    pub fn reads(self) -> Reads {
        Reads { language: self.0, closing: false }
    }
}

/// What goes on with an exception, line by line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reads {
    language: Language,
    /// Python: the line that names the error has come; only a further traceback can follow.
    closing: bool,
}

impl Reads {
    /// Whether `line` goes on with the exception.
    pub fn takes(&mut self, line: &str) -> bool {
        match self.language {
            Language::Java => takes_java(line),
            Language::Python => self.takes_python(line),
            Language::Go => takes_go(line),
            Language::Node => takes_node(line),
            Language::Ruby => takes_ruby(line),
            Language::DotNet => takes_dotnet(line),
        }
    }

    fn takes_python(&mut self, line: &str) -> bool {
        let again = line.starts_with("Traceback (most recent call last):");
        if self.closing {
            let between = line.trim().is_empty()
                || line.starts_with("During handling of the above exception")
                || line.starts_with("The above exception was the direct cause");
            self.closing = !again;
            return again || between;
        }
        if again || line.trim().is_empty() || line.starts_with([' ', '\t']) {
            return true;
        }
        self.closing = true;
        is_error_line(line, &["Error", "Exception", "Exit", "Interrupt", "Warning", "Iteration"])
            || error_name(line).is_some()
    }
}

/// The name at the front of `Name: message` or of a line that is only a name.
fn error_name(line: &str) -> Option<&str> {
    let end = line.find(": ").or_else(|| line.strip_suffix(':').map(str::len)).unwrap_or(line.trim_end().len());
    let name = &line[..end];
    let letters = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '$');
    (!name.is_empty() && name.chars().all(letters) && name.starts_with(char::is_alphabetic)).then_some(name)
}

/// `package.NameError: message` and the like.
fn is_error_line(line: &str, endings: &[&str]) -> bool {
    error_name(line).is_some_and(|name| endings.iter().any(|ending| name.ends_with(ending)))
}

fn begins(line: &str, language: Language) -> bool {
    match language {
        Language::Java => {
            line.starts_with("Exception in thread ")
                || line.starts_with("Caused by: ")
                || is_error_line(line, &["Exception", "Error", "Throwable"])
                    && error_name(line).is_some_and(|name| name.contains('.') && !name.starts_with("System."))
        }
        Language::Python => line.starts_with("Traceback (most recent call last):"),
        Language::Go => {
            line.starts_with("panic: ") || line.starts_with("fatal error: ") || line.starts_with("runtime: goroutine")
        }
        Language::Node => {
            let line =
                line.strip_prefix("Uncaught ").or_else(|| line.strip_prefix("Unhandled rejection ")).unwrap_or(line);
            is_error_line(line, &["Error", "Exception"]) && error_name(line).is_some_and(|name| !name.contains('.'))
        }
        Language::Ruby => ruby_place(line) && line.trim_end().ends_with(')') && line.contains("Error"),
        Language::DotNet => {
            line.starts_with("Unhandled exception. ")
                || line.starts_with("Unhandled Exception: ")
                || error_name(line).is_some_and(|name| name.starts_with("System.") && name.ends_with("Exception"))
        }
    }
}

fn takes_java(line: &str) -> bool {
    let text = line.trim_start();
    let is_indented = text.len() < line.len();
    is_indented
        && (text.starts_with("at ")
            || text.starts_with("... ")
            || text.starts_with("Suppressed: ")
            || text.starts_with("Caused by: "))
        || line.starts_with("Caused by: ")
}

fn takes_go(line: &str) -> bool {
    let frame = line.trim_end().ends_with(')')
        && line.contains('(')
        && !line.starts_with(' ')
        && line.contains('.')
        && !line.contains(": ");
    line.trim().is_empty()
        || line.starts_with('\t')
        || line.starts_with("goroutine ")
        || line.starts_with("created by ")
        || line.starts_with("[signal ")
        || line.starts_with("exit status ")
        || line.starts_with("runtime stack:")
        || frame
}

fn takes_node(line: &str) -> bool {
    let text = line.trim_start();
    let is_indented = text.len() < line.len();
    is_indented
        && (text.starts_with("at ") || text.starts_with("... ") || text.starts_with("[cause]: ") || is_property(text))
        || line.starts_with("Caused by: ")
        || line.trim_end() == "}"
}

/// `code: 'ENOENT',` below a stack of Node.
fn is_property(text: &str) -> bool {
    text.split_once(": ")
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

/// `file.rb:12:in …`
fn ruby_place(line: &str) -> bool {
    let Some((_, behind)) = line.split_once(".rb:") else { return false };
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && behind[digits..].starts_with(":in ")
}

fn takes_ruby(line: &str) -> bool {
    let text = line.trim_start();
    text.len() < line.len() && (text.starts_with("from ") || ruby_place(text) || text.starts_with("... "))
}

fn takes_dotnet(line: &str) -> bool {
    let text = line.trim_start();
    let is_indented = text.len() < line.len();
    is_indented && (text.starts_with("at ") || text.starts_with("---> ") || text.starts_with("--- End of "))
        || line.starts_with("--- End of ")
        || line.starts_with(" ---> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_name_their_language() {
        let cases = [
            ("Exception in thread \"main\" java.lang.Error: x", Some(Language::Java)),
            ("java.lang.IllegalStateException", Some(Language::Java)),
            ("Traceback (most recent call last):", Some(Language::Python)),
            ("panic: runtime error: index out of range", Some(Language::Go)),
            ("TypeError: Cannot read properties of undefined", Some(Language::Node)),
            ("app.rb:3:in `div': divided by 0 (ZeroDivisionError)", Some(Language::Ruby)),
            ("System.InvalidOperationException: x", Some(Language::DotNet)),
            ("Unhandled exception. System.Exception: x", Some(Language::DotNet)),
            ("an Error: in a sentence", None),
            ("request failed: Exception", None),
            ("", None),
        ];
        for (line, language) in cases {
            assert_eq!(Begins::of(line, &Language::ALL).map(|begins| begins.0), language, "{line}");
        }
    }
}
