//! Finds addresses in a text. What looks like one is parsed; only what is one is masked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many leading bits stay.
pub struct Masks {
    pub v4: u32,
    pub v6: u32,
    /// Addresses of private and local networks stay as they are.
    pub keep_private: bool,
}

/// The longest address: `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
const ADDRESS_BYTES_MAX: usize = 45;

fn is_part(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')
}

impl Masks {
    /// `text` with its addresses masked; `None` if that changes nothing.
    pub fn apply(&self, text: &str) -> Option<String> {
        let bytes = text.as_bytes();
        let (mut out, mut done, mut at) = (String::new(), 0, 0);
        while at < bytes.len() {
            if !is_part(bytes[at]) {
                at += 1;
                continue;
            }
            let end = at + bytes[at..].iter().take_while(|byte| is_part(**byte)).count();
            let word_before =
                bytes[at] != b':' && at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
            let word_behind = bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            let found = if word_before || word_behind { None } else { address(&text[at..end]) };
            if let Some((from, to, ip)) = found
                && let Some(masked) = self.masked(ip)
            {
                out.push_str(&text[done..at + from]);
                out.push_str(&masked.to_string());
                done = at + to;
            }
            at = end;
        }
        if done == 0 {
            return None;
        }
        out.push_str(&text[done..]);
        (out != text).then_some(out)
    }

    fn masked(&self, ip: IpAddr) -> Option<IpAddr> {
        if self.keep_private && is_private(ip) {
            return None;
        }
        Some(match ip {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & mask(self.v4, 32) as u32).into(),
            // An IPv4 address in IPv6's clothes has its person in the last 32 bits.
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 32 | mask(self.v4, 32))).into()
            }
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & mask(self.v6, 128)).into(),
        })
    }
}

/// `bits` ones at the top of `width` bits.
fn mask(bits: u32, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    if bits == 0 { 0 } else { all << (width - bits) & all }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

/// The address in `word`, and where: with a port or a full stop behind it, or a colon before it.
fn address(word: &str) -> Option<(usize, usize, IpAddr)> {
    if word.len() > ADDRESS_BYTES_MAX + 8 {
        return None;
    }
    let start = if word.starts_with(':') && !word.starts_with("::") { 1 } else { 0 };
    let end = word.trim_end_matches('.').len();
    let end = if word[..end].ends_with(':') && !word[..end].ends_with("::") { end - 1 } else { end };
    let word = word.get(start..end)?;
    if let Ok(ip) = word.parse::<IpAddr>() {
        // `::` and `1::` are code more often than addresses.
        return (word.len() > 3).then_some((start, end, ip));
    }
    let (host, port) = word.rsplit_once(':')?;
    let ip: Ipv4Addr = host.parse().ok()?;
    port.parse::<u16>().ok()?;
    Some((start, start + host.len(), ip.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let masks = Masks { v4: 24, v6: 48, keep_private: false };
        masks.apply(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn addresses_are_masked_and_what_only_looks_like_one_stays() {
        let cases = [
            ("from 192.168.10.20.", "from 192.168.10.0."),
            ("10.1.2.3:443 -> [2001:db8:1:2:3::4]:80", "10.1.2.0:443 -> [2001:db8:1::]:80"),
            ("client:203.0.113.9", "client:203.0.113.0"),
            ("::ffff:203.0.113.9", "::ffff:203.0.113.0"),
            ("version 1.2.3 and 1.2.3.4.5 and 999.1.1.1", "version 1.2.3 and 1.2.3.4.5 and 999.1.1.1"),
            ("at 12:34:56 std::net v1.2.3.4", "at 12:34:56 std::net v1.2.3.4"),
            ("é1.2.3.4é", "é1.2.3.0é"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn masks_go_from_nothing_to_everything() {
        let apply = |v4| Masks { v4, v6: 0, keep_private: true }.apply("8.8.8.8 10.0.0.1 2001:db8::1");
        assert_eq!(apply(0).as_deref(), Some("0.0.0.0 10.0.0.1 ::"));
        assert_eq!(apply(32).as_deref(), Some("8.8.8.8 10.0.0.1 ::"));
    }
}
