//! Addresses that no registry has: those of the link, where clouds answer with the credentials of the machine. A name that leads
//! there is not followed, whoever gave it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where one cloud answers over IPv6, which is no address of the link.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether nothing is asked of this address.
pub fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified() || address.is_multicast(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast() || address == METADATA
        }
    }
}

/// Whether `url` itself names such an address; names are looked up by [`Guard`].
pub fn names_refused(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').parse().is_ok_and(is_refused)
}

/// Looks names up as the system does, and leaves out what is refused.
pub struct Guard;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            let (refused, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| is_refused(address.ip()));
            if kept.is_empty()
                && let Some(refused) = refused.first()
            {
                return Err(
                    format!("{name} leads to {}, an address of the link, which is not asked", refused.ip()).into()
                );
            }
            let kept: Addrs = Box::new(kept.into_iter());
            Ok(kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_are_refused_however_they_are_written() {
        for url in [
            "http://169.254.169.254/latest",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fd00:ec2::254]/",
            "http://0.0.0.0/",
        ] {
            assert!(names_refused(&url.parse().expect(url)), "{url}");
        }
        for url in ["http://127.0.0.1:5000/", "http://[::1]/", "https://10.1.2.3/", "https://registry.example.com/"] {
            assert!(!names_refused(&url.parse().expect(url)), "{url}");
        }
    }
}
