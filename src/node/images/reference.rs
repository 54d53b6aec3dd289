//! Image names as docker reads them: `busybox` is `docker.io/library/busybox:latest`.

use std::fmt;

/// A normalised name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Registry, such as `docker.io`.
    pub domain: String,
    /// Repository in it.
    pub path: String,
    /// Tag; `latest` unless tag or digest is given.
    pub tag: Option<String>,
    /// Digest, `sha256:…`.
    pub digest: Option<String>,
}

/// The name is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("couldn't parse image name {name:?}: {reason}")]
pub struct InvalidReference {
    name: String,
    reason: &'static str,
}

impl Reference {
    /// Reads and normalises a name.
    pub fn parse(name: &str) -> Result<Self, InvalidReference> {
        let invalid = |reason| InvalidReference { name: name.to_owned(), reason };
        let format = "invalid reference format";
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) if valid_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(invalid(format)),
            None => (name, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag.to_owned())),
            _ => (rest, None),
        };
        let (domain, path) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase) => {
                (first, path)
            }
            _ => ("docker.io", rest),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        if path.chars().any(char::is_uppercase) {
            return Err(invalid("invalid reference format: repository name must be lowercase"));
        }
        if !valid_domain(domain) || !path.split('/').all(valid_part) || tag.as_deref().is_some_and(|tag| !valid_tag(tag)) {
            return Err(invalid(format));
        }
        let path = if domain == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { domain: domain.to_owned(), path, tag, digest })
    }

    /// Registry and repository.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether this is `sha256:` and 64 hexadecimal digits.
pub fn valid_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn valid_tag(tag: &str) -> bool {
    let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first && tag.len() <= 128 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = domain.rsplit_once(':').unwrap_or((domain, "0"));
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

fn valid_part(part: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    ends(part.bytes().next())
        && ends(part.bytes().last())
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_are_normalised() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("busybox:1.36", "docker.io/library/busybox:1.36".to_owned()),
            ("luksa/kubia", "docker.io/luksa/kubia:latest".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest".to_owned()),
            ("coracle.local/kubia:1.0-stdin", "coracle.local/kubia:1.0-stdin".to_owned()),
            (&format!("busybox@{digest}"), format!("docker.io/library/busybox@{digest}")),
            (&format!("busybox:1@{digest}"), format!("docker.io/library/busybox:1@{digest}")),
        ];
        for (name, expected) in cases {
            assert_eq!(Reference::parse(name).unwrap().to_string(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "Busybox", "a b", "a:", "a//b", "a@sha256:1", "-a", "a/../b", "a:b:c/"] {
            assert!(Reference::parse(name).is_err(), "{name}");
        }
    }
}
