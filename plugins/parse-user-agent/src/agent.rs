//! The words that browsers, programs and crawlers put into their User-Agent, in the order in which they are to be asked: many
//! claim to be others.

/// What a User-Agent text means.
#[derive(Debug, PartialEq, Eq)]
pub struct Agent<'a> {
    pub name: &'a str,
    pub version: Option<&'a str>,
    pub os: Option<&'static str>,
    pub os_version: Option<&'a str>,
    /// `desktop`, `mobile`, `tablet`, `tv`, `bot`, `program`.
    pub device: &'static str,
}

/// The word before the version, and what the browser is called.
const BROWSERS: [(&str, &str); 20] = [
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("Edg/", "Edge"),
    ("Edge/", "Edge"),
    ("OPR/", "Opera"),
    ("OPiOS/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("YaBrowser/", "Yandex"),
    ("Vivaldi/", "Vivaldi"),
    ("Whale/", "Whale"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("UCBrowser/", "UC Browser"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Headless Chrome"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
    ("MSIE ", "Internet Explorer"),
    ("rv:", "Internet Explorer"),
];
/// Words that only crawlers have, in small letters.
const BOTS: [&str; 8] =
    ["bot", "crawler", "spider", "slurp", "mediapartners", "facebookexternalhit", "monitor", "scan"];
/// Longest text that is read.
const TEXT_BYTES_MAX: usize = 2_048;

impl<'a> Agent<'a> {
    /// What `text` means; `None` if it says nothing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text[..text.floor_char_boundary(TEXT_BYTES_MAX)].trim();
        if text.is_empty() || text == "-" {
            return None;
        }
        let small = text.to_ascii_lowercase();
        let (os, os_version) = system(text);
        let agent = |name, version, device| Self { name, version, os, os_version, device };
        if let Some(word) = BOTS.iter().find_map(|word| word_around(text, small.find(word)?)) {
            let (name, version) = word.split_once('/').map_or((word, None), |(name, version)| (name, number(version)));
            return Some(agent(name, version, "bot"));
        }
        if !text.starts_with("Mozilla/") && !text.starts_with("Opera/") {
            let (name, version) = product(text);
            return Some(agent(name, version, "program"));
        }
        let device = device(text, os);
        for (word, name) in BROWSERS {
            let Some(at) = text.find(word) else { continue };
            // `Version/` is Safari's only beside `Safari/`, `rv:` Internet Explorer's only beside `Trident/`.
            let is_it = match word {
                "Version/" => text.contains("Safari/"),
                "rv:" => text.contains("Trident/"),
                _ => true,
            };
            if is_it {
                return Some(agent(name, number(&text[at + word.len()..]), device));
            }
        }
        let (name, version) = product(text);
        Some(agent(name, version, device))
    }
}

/// `NAME/VERSION` at the front.
fn product(text: &str) -> (&str, Option<&str>) {
    let word = text.split([' ', '(']).next().unwrap_or(text);
    match word.split_once('/') {
        Some((name, version)) => (name, number(version)),
        None => (word, None),
    }
}

/// The number at the front.
fn number(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_'))).unwrap_or(text.len());
    let number = text[..end].trim_end_matches(['.', '_']);
    (!number.is_empty()).then_some(number)
}

/// The word around the byte at `at`.
fn word_around(text: &str, at: usize) -> Option<&str> {
    let ends = |c: char| matches!(c, ' ' | ';' | '(' | ')' | ',' | '+' | '"');
    let start = text[..at].rfind(ends).map_or(0, |i| i + 1);
    let end = text[at..].find(ends).map_or(text.len(), |i| at + i);
    text.get(start..end).filter(|word| !word.contains("://"))
}

fn system(text: &str) -> (Option<&'static str>, Option<&str>) {
    let behind = |word: &str| text.find(word).map(|at| &text[at + word.len()..]);
    if let Some(rest) = behind("Windows NT ") {
        return (Some("Windows"), number(rest));
    }
    if let Some(rest) = behind("CPU iPhone OS ").or_else(|| behind("CPU OS ")) {
        return (Some("iOS"), number(rest));
    }
    if let Some(rest) = behind("Android") {
        return (Some("Android"), number(rest.trim_start()));
    }
    if let Some(rest) = behind("Mac OS X") {
        return (Some("macOS"), number(rest.trim_start()));
    }
    let others =
        [("CrOS", "ChromeOS"), ("Windows", "Windows"), ("Tizen", "Tizen"), ("Linux", "Linux"), ("FreeBSD", "FreeBSD")];
    (others.into_iter().find(|(word, _)| text.contains(word)).map(|(_, name)| name), None)
}

fn device(text: &str, os: Option<&str>) -> &'static str {
    let has = |word: &str| text.contains(word);
    match os {
        _ if has("TV") || has("AppleTV") || has("BRAVIA") => "tv",
        _ if has("iPad") || has("Tablet") => "tablet",
        Some("Android") if !has("Mobile") => "tablet",
        _ if has("Mobile") || has("iPhone") => "mobile",
        _ => "desktop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_that_claim_to_be_others_are_told_apart() {
        let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
        let cases = [
            (chrome.to_owned(), "Chrome", Some("120.0.0.0"), "desktop"),
            (format!("{chrome} Edg/120.1"), "Edge", Some("120.1"), "desktop"),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)".into(),
                "Googlebot",
                Some("2.1"),
                "bot",
            ),
            ("curl/8.5.0".into(), "curl", Some("8.5.0"), "program"),
            (
                "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko".into(),
                "Internet Explorer",
                Some("11.0"),
                "desktop",
            ),
        ];
        for (text, name, version, device) in cases {
            let agent = Agent::parse(&text).expect("says something");
            assert_eq!((agent.name, agent.version, agent.device), (name, version, device), "{text}");
        }
        assert_eq!(Agent::parse(" - "), None);
    }
}
