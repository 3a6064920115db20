//! Which addresses are those of the public internet.
//!
//! A pipeline file may come from a person whom the operator of the host need not trust. It must not reach what is near the host by naming
//! it as a receiver: so the address that a name leads to is looked at, the one that is then connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is that is not public, in words.
pub(super) fn non_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> Option<&'static str> {
    let found = match address.octets() {
        [127, ..] => "a loopback address",
        [0, ..] => "an unspecified address",
        [169, 254, 169, 254] | [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => {
            "the metadata address of a cloud"
        }
        [169, 254, ..] => "a link-local address",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "a private address",
        [100, 64..=127, ..] => "a shared address of a provider (CGNAT)",
        [224..=239, ..] => "a multicast address",
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => "a reserved address",
        _ => return None,
    };
    Some(found)
}

fn of_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        of_v4(Ipv4Addr::new(a, b, c, d))
    };
    let found = match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        // An IPv4 address in another form: mapped, or for a translator (NAT64).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return embedded(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => return embedded(high, low).or(Some("a translated address")),
        // A prefix that networks choose themselves.
        [0x64, 0xff9b, ..] => "an address of a local translator (NAT64)",
        // 6to4 and Teredo lead on to an IPv4 address.
        [0x2002, high, low, ..] => return embedded(high, low).or(Some("a tunnelled address")),
        [0x2001, 0, ..] => "a tunnelled address",
        [0xfd00, 0x0ec2, ..] => "the metadata address of a cloud",
        [0xfc00..=0xfdff, ..] => "a private address (unique local)",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfec0..=0xfeff, ..] => "a private address (site-local)",
        [0xff00..=0xffff, ..] => "a multicast address",
        // Only these were given out, but for what documentation and benchmarks use.
        [0x2000..=0x3fff, ..]
            if !matches!(
                segments,
                [0x2001, 0x0db8, ..] | [0x2001, 2, 0, ..] | [0x3fff, 0..=0x0fff, ..]
            ) =>
        {
            return None;
        }
        _ => "a reserved address",
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_beyond_the_public_internet_are_told_apart() {
        for (addresses, expected) in [
            (
                "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1",
                "loopback",
            ),
            ("0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0", "unspecified"),
            (
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 ::ffff:10.1.2.3 64:ff9b::a00:1 2002:a00:1:: fc00::1 fdff::1 fec0::1",
                "private",
            ),
            (
                "169.254.0.1 169.254.255.255 fe80::1 febf::1 ::ffff:169.254.1.1",
                "link-local",
            ),
            (
                "169.254.169.254 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254",
                "metadata",
            ),
            ("100.64.0.1 100.127.255.255", "CGNAT"),
            ("224.0.0.1 239.255.255.255 ff02::1", "multicast"),
            (
                "192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 240.0.0.1 255.255.255.255 \
                 ::7f00:1 2001:db8::1 3fff::1 100::1 4000::1 5f00::1",
                "reserved",
            ),
            ("64:ff9b:1::1", "NAT64"),
            ("2001::1 2002:808:808::1", "tunnelled"),
            ("::ffff:0:8.8.8.8", "translated"),
        ] {
            for address in addresses.split_whitespace() {
                let found = non_public(address.parse().unwrap());
                assert!(
                    found.is_some_and(|found| found.contains(expected)),
                    "{address}: {found:?}"
                );
            }
        }
        let public = "8.8.8.8 1.1.1.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.167.1.1 \
                      223.255.255.255 2606:4700::1111 2a00::1 ::ffff:8.8.8.8 64:ff9b::808:808";
        for address in public.split_whitespace() {
            assert_eq!(non_public(address.parse().unwrap()), None, "{address}");
        }
    }
}
