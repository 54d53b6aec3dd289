//! Links in answers: what a page or a redirect says of its own host is led through the proxy.

use std::borrow::Cow;
use std::io::Read;

use coracle_api::status::Status;
use flate2::read::{GzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Limited};

use crate::http::body::Body;

/// Longest page whose links are rewritten.
const PAGE_LIMIT: usize = 32 << 20;

/// Which links are rewritten, and to what.
pub(super) struct Links {
    /// What stands before the proxied path in the client's.
    prefix: String,
    /// The host behind the proxy, as its own links may name it.
    host: String,
}

impl Links {
    /// `path` is the client's, of which `proxied` goes on to `host`.
    pub(super) fn new(path: &str, proxied: &str, host: &str) -> Self {
        Self { prefix: path.strip_suffix(proxied).unwrap_or(path).to_owned(), host: host.to_owned() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Rewrites a redirect, or a page of HTML; `asked` is the host that the client sent its request to.
    pub(super) async fn rewrite(&self, response: Response<Body>, asked: &str) -> Result<Response<Body>, Status> {
        let (mut parts, body) = response.into_parts();
        for name in ["credentials", "headers", "methods", "origin"] {
            parts.headers.remove(format!("access-control-allow-{name}"));
        }
        if let Some(location) = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok()) {
            let location = self.link(location, asked);
            parts.headers.insert(LOCATION, HeaderValue::try_from(location).map_err(Status::internal)?);
            return Ok(Response::from_parts(parts, body));
        }
        let header = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let media_type = header(&parts.headers, CONTENT_TYPE);
        let coding = header(&parts.headers, CONTENT_ENCODING);
        if media_type.split(';').next().map(str::trim) != Some("text/html") || !matches!(coding.as_str(), "" | "gzip" | "deflate") {
            return Ok(Response::from_parts(parts, body));
        }
        let lost = |error| Status::unavailable(format!("error trying to reach service: {error}"));
        let page = Limited::new(body, PAGE_LIMIT).collect().await.map_err(lost)?.to_bytes();
        let page = match coding.as_str() {
            "" => page.to_vec(),
            coding => unzip(&page, coding).map_err(|error| Status::internal(format!("errors reading proxied page: {error}")))?,
        };
        let page = html(&page, |link| self.link(link, asked));
        parts.headers.remove(CONTENT_ENCODING);
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(page.len()));
        Ok(Response::from_parts(parts, Body::full(page)))
    }

    /// A link of the host behind the proxy, led through it; any other as it is.
    fn link(&self, link: &str, asked: &str) -> String {
        let (host, path) = split(link);
        let elsewhere = !host.is_empty() && host != self.host && host != asked;
        if elsewhere || !path.starts_with('/') {
            return link.to_owned();
        }
        // The host that the client knows stays.
        let before = if !host.is_empty() && host == asked { &link[..link.len() - path.len()] } else { "" };
        if path.starts_with(&self.prefix) { format!("{before}{path}") } else { format!("{before}{}{}", self.prefix, cleaned(path)) }
    }
}

/// The host of a link, empty where it has none, and what follows.
fn split(link: &str) -> (&str, &str) {
    let scheme = link.find("://").filter(|at| !link[..*at].contains(['/', '?', '#']));
    let rest = match scheme {
        Some(at) => &link[at + 3..],
        None => match link.strip_prefix("//") {
            Some(rest) => rest,
            None => return ("", link),
        },
    };
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// A path without empty, `.` and `..` segments; query and fragment stay.
fn cleaned(link: &str) -> String {
    let (path, rest) = link.split_at(link.find(['?', '#']).unwrap_or(link.len()));
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}{rest}", segments.join("/"))
}

fn unzip(page: &[u8], coding: &str) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let limit = PAGE_LIMIT as u64;
    match coding {
        "gzip" => GzDecoder::new(page).take(limit).read_to_end(&mut out)?,
        _ => ZlibDecoder::new(page).take(limit).read_to_end(&mut out)?,
    };
    Ok(out)
}

/// Attributes that hold a link, and the elements they do so in.
const LINKS: &[(&str, &str)] = &[
    ("href", "a area base link"),
    ("src", "audio embed frame iframe img input script source video"),
    ("cite", "blockquote del ins q"),
    ("codebase", "applet object"),
    ("longdesc", "frame iframe img"),
    ("usemap", "img input object"),
    ("formaction", "button input"),
    ("background", "body"),
    ("icon", "command"),
    ("action", "form"),
    ("profile", "head"),
    ("manifest", "html"),
    ("classid", "object"),
    ("data", "object"),
    ("poster", "video"),
];

/// A page with its links changed; everything else is as it was.
fn html(page: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let page = String::from_utf8_lossy(page);
    let (mut out, mut rest) = (String::with_capacity(page.len() + 256), &*page);
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let skipped = match rest {
            _ if rest.starts_with("!--") => rest.find("-->").unwrap_or(rest.len()),
            _ if rest.starts_with(|c: char| c.is_ascii_alphabetic()) => tag(rest, &mut out, &change),
            _ => continue,
        };
        if rest.starts_with("!--") {
            out.push_str(&rest[..skipped]);
        }
        rest = &rest[skipped..];
    }
    out.push_str(rest);
    out.into_bytes()
}

/// Writes a tag, and the text of an element that holds no markup; answers how much of `rest` that was.
fn tag(rest: &str, out: &mut String, change: &impl Fn(&str) -> String) -> usize {
    let end_of_name = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/')).unwrap_or(rest.len());
    let element = rest[..end_of_name].to_ascii_lowercase();
    out.push_str(&rest[..end_of_name]);
    let mut at = end_of_name;
    while let Some(next) = rest[at..].chars().next() {
        if next == '>' {
            break;
        }
        if next.is_ascii_whitespace() || next == '/' {
            out.push(next);
            at += 1;
            continue;
        }
        at += attribute(&element, &rest[at..], out, change);
    }
    if matches!(element.as_str(), "script" | "style" | "textarea" | "title") {
        let closing = format!("</{element}");
        let end = rest[at..].to_ascii_lowercase().find(&closing).map_or(rest.len(), |length| at + length);
        out.push_str(&rest[at..end]);
        at = end;
    }
    at
}

/// Writes an attribute; answers how long it was.
fn attribute(element: &str, rest: &str, out: &mut String, change: &impl Fn(&str) -> String) -> usize {
    let stops = |c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/' | '=');
    let end = rest.char_indices().skip(1).find(|(_, c)| stops(*c)).map_or(rest.len(), |(at, _)| at);
    let name = rest[..end].to_ascii_lowercase();
    out.push_str(&rest[..end]);
    let after = rest[end..].trim_start();
    let Some(value) = after.strip_prefix('=').map(str::trim_start) else { return end };
    let start = rest.len() - value.len();
    out.push_str(&rest[end..start]);
    let (open, close) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => (1, value[1..].find(quote).map_or(value.len(), |at| at + 1)),
        _ => (0, value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len())),
    };
    let quoted = &value[open.min(close)..close];
    let is_link = LINKS.iter().any(|(attribute, elements)| *attribute == name && elements.split(' ').any(|own| own == element));
    out.push_str(&value[..open.min(close)]);
    let text: Cow<'_, str> = if is_link { change(&quoted.replace("&amp;", "&")).replace('&', "&amp;").into() } else { quoted.into() };
    out.push_str(&text);
    start + close
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PREFIX: &str = "/api/v1/namespaces/a/services/s/proxy";

    fn links() -> Links {
        Links::new(&format!("{PREFIX}/x/y"), "/x/y", "10.244.0.9:8080")
    }

    #[rstest]
    #[case("/a/b?c#d", "/api/v1/namespaces/a/services/s/proxy/a/b?c#d")]
    #[case("/a/../b//c/", "/api/v1/namespaces/a/services/s/proxy/b/c/")]
    #[case("/", "/api/v1/namespaces/a/services/s/proxy/")]
    #[case("a/b", "a/b")]
    #[case("", "")]
    #[case("#top", "#top")]
    #[case("mailto:a@b", "mailto:a@b")]
    #[case("https://example.com/x", "https://example.com/x")]
    #[case("//example.com/x", "//example.com/x")]
    #[case("http://10.244.0.9:8080/x", "/api/v1/namespaces/a/services/s/proxy/x")]
    #[case("http://10.244.0.9:8080", "http://10.244.0.9:8080")]
    #[case("https://api:6443/x", "https://api:6443/api/v1/namespaces/a/services/s/proxy/x")]
    #[case("/api/v1/namespaces/a/services/s/proxy/x", "/api/v1/namespaces/a/services/s/proxy/x")]
    fn single(#[case] link: &str, #[case] wanted: &str) {
        let wanted = if link == "/" { format!("{PREFIX}/") } else { wanted.to_owned() };
        assert_eq!(links().link(link, "api:6443"), wanted);
    }

    #[rstest]
    #[case(r#"<a href="/x?a=1&amp;b">t</a>"#, r#"<a href="P/x?a=1&amp;b">t</a>"#)]
    #[case("<A class=c HREF=/x>", "<A class=c HREF=P/x>")]
    #[case("<img alt='<a href=\"/no\">' src = '/i.png'/>", "<img alt='<a href=\"/no\">' src = 'P/i.png'/>")]
    #[case("<!-- <a href='/x'> --><p href='/x'>1 < 2", "<!-- <a href='/x'> --><p href='/x'>1 < 2")]
    #[case(
        "<script src='/s.js'>a='<a href=\"/x\">'</script><link href='/c'>",
        "<script src='P/s.js'>a='<a href=\"/x\">'</script><link href='P/c'>"
    )]
    #[case("<a href", "<a href")]
    #[case("<a href='", "<a href='")]
    #[case("<", "<")]
    fn pages(#[case] page: &str, #[case] wanted: &str) {
        let out = html(page.as_bytes(), |link| if link.starts_with('/') { format!("P{link}") } else { link.to_owned() });
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    }
}
