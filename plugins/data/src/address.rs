//! Web addresses in one form, so that the same page has the same address: scheme and host in lower case, without the
//! parts that say nothing about the page. Everything else stays byte for byte.

/// Query parameters that only track who follows a link; a `*` at the end stands for any ending.
const TRACKING: [&str; 17] = [
    "utm_*", "gclid", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "yclid", "twclid", "ttclid", "igshid",
    "mc_cid", "mc_eid", "_ga", "_hsenc", "_hsmi", "mkt_tok",
];

/// The normal form of an absolute `http` or `https` address; `None` for anything else.
///
/// The host is ASCII (IDNA). Left out are: user, fragment, default port, one leading `www.`, one slash at the end of the
/// path, and tracking parameters.
pub fn normal(address: &str) -> Option<String> {
    let address = address.trim();
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return None;
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let mut normal = format!("{scheme}://{}", host(host_and_port, &scheme)?);
    normal.push_str(path.strip_suffix('/').unwrap_or(path));
    let kept: Vec<&str> = query.into_iter().flat_map(|query| query.split('&')).filter(|part| !tracks(part)).collect();
    let query = kept.join("&");
    if !query.is_empty() {
        normal.push('?');
        normal.push_str(&query);
    }
    Some(escaped(&normal))
}

/// The address with bytes beyond ASCII written as `%C3%9F`, as browsers send them.
fn escaped(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    for c in address.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        }
    }
    out
}

/// The host of a normal address, without its port.
pub fn host_of(normal: &str) -> &str {
    let rest = normal.split_once("://").map_or(normal, |(_, rest)| rest);
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    authority
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(authority, |(host, _)| host)
}

/// Host and port in their normal form.
fn host(authority: &str, scheme: &str) -> Option<String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let port: Option<u16> = match port {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    let host = if host.is_ascii() { host.to_ascii_lowercase() } else { idna::domain_to_ascii(host).ok()? };
    let host = host.strip_prefix("www.").unwrap_or(&host);
    if host.is_empty() || host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}', '%']) {
        return None;
    }
    let default = if scheme == "http" { 80 } else { 443 };
    Some(match port.filter(|port| *port != default) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn tracks(parameter: &str) -> bool {
    let key = parameter.split('=').next().unwrap_or_default();
    TRACKING.iter().any(|tracking| match tracking.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == *tracking,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_about_the_page_is_left_out() {
        let same = |address: &str, expected: &str| assert_eq!(normal(address).as_deref(), Some(expected), "{address}");
        same("HTTPS://WWW.Example.org:443/a/?utm_source=x&id=3&gclid#top", "https://example.org/a?id=3");
        same("http://example.org/", "http://example.org");
        same("http://example.org:8080/Case/%7Euser", "http://example.org:8080/Case/%7Euser");
        same("https://bücher.example/", "https://xn--bcher-kva.example");
        same("http://[2001:db8::1]:80/x", "http://[2001:db8::1]/x");
    }

    #[test]
    fn what_is_no_web_address_has_no_form() {
        for address in ["", "example.org/a", "ftp://example.org", "//example.org/a", "http://", "mailto:a@example.org"]
        {
            assert_eq!(normal(address), None, "{address}");
        }
    }

    #[test]
    fn the_host_is_found() {
        assert_eq!(host_of("https://a.example:8080/x?y=1"), "a.example");
        assert_eq!(host_of("https://a.example?y=1"), "a.example");
    }
}
