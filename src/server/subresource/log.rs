//! `pods/log`.

use coracle_api::field::FieldError;
use coracle_api::seams::{LogOptions, PodRef};
use coracle_api::status::Status;
use coracle_api::time;
use futures::StreamExt;
use http::Response;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

use crate::http::body::Body;
use crate::http::query::Query;
use crate::registry::Call;
use crate::streams::reader;
use crate::{answer, codec};

/// Answers a GET of a container's log.
pub(super) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let pod = codec::decode(&call.kind, &*call.find().await?)?;
    let options = parse(call)?;
    let container = container(&pod, &call.info.name, call.query.get("container").unwrap_or_default())?;
    let pod = pod_ref(&pod);
    if pod.node.is_empty() {
        return Ok(answer::stream("text/plain", Body::empty()));
    }
    let stop = call.server.stopping();
    let lines = call.server.0.dialer.logs(&pod, &container, options).await?;
    let lines = lines.take_until(async move { stop.cancelled().await });
    if reader::is_wanted(&call.parts.headers)
        && let Some(upgrade) = call.parts.extensions.remove::<OnUpgrade>()
    {
        return reader::send(&call.parts.headers, upgrade, lines, call.server.stopping());
    }
    Ok(answer::stream("text/plain", Body::stream(lines)))
}

/// How the node agent is told which pod.
pub(crate) fn pod_ref(pod: &Value) -> PodRef {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    PodRef {
        node: text("/spec/nodeName"),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
        uid: text("/metadata/uid"),
    }
}

fn names<'a>(pod: &'a Value, field: &str) -> Vec<&'a str> {
    pod["spec"][field].as_array().map(|list| list.iter().filter_map(|one| one["name"].as_str()).collect()).unwrap_or_default()
}

/// The container meant, or upstream's words on why none is.
pub(crate) fn container(pod: &Value, name: &str, wanted: &str) -> Result<String, Status> {
    let (containers, init, ephemeral) = (names(pod, "containers"), names(pod, "initContainers"), names(pod, "ephemeralContainers"));
    if !wanted.is_empty() {
        let known = containers.iter().chain(&init).chain(&ephemeral).any(|one| *one == wanted);
        return if known {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")))
        };
    }
    match containers.as_slice() {
        [only] if init.is_empty() && ephemeral.is_empty() => Ok((*only).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        [first, ..] if containers.len() == 1 => Ok((*first).to_owned()),
        _ => {
            let all: Vec<&str> = init.iter().chain(&containers).chain(&ephemeral).copied().collect();
            Err(Status::bad_request(format!("a container name must be specified for pod {name}, choose one of: [{}]", all.join(" "))))
        }
    }
}

fn parse(call: &Call) -> Result<LogOptions, Status> {
    let query: &Query = &call.query;
    let mut errors = Vec::new();
    let mut number = |name: &str, least: i64| -> Result<Option<u64>, Status> {
        let value = query.number(name)?;
        if let Some(value) = value.filter(|value| *value < least) {
            let why = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.push(FieldError::invalid(name, value, why));
        }
        Ok(value.and_then(|value| u64::try_from(value).ok()))
    };
    let tail_lines = number("tailLines", 0)?;
    let limit_bytes = number("limitBytes", 1)?;
    let since_seconds = number("sinceSeconds", 1)?;
    let since_time = match query.text("sinceTime") {
        None => None,
        Some(text) => Some(time::parse(text).ok_or_else(|| Status::bad_request(format!("parsing time {text:?}: not an RFC 3339 time")))?),
    };
    if since_seconds.is_some() && since_time.is_some() {
        errors.push(FieldError::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let stream = query.text("stream");
    if let Some(other) = stream.filter(|stream| !matches!(*stream, "All" | "Stdout" | "Stderr")) {
        errors.push(FieldError::not_supported("stream", other, &["All", "Stderr", "Stdout"]));
    }
    if stream.is_some_and(|stream| stream != "All") && tail_lines.is_some() {
        errors.push(FieldError::forbidden("", "`tailLines` and specific `stream` are mutually exclusive for now"));
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", &call.info.name, &errors));
    }
    let now = call.server.0.clock.now();
    let since = since_seconds.and_then(|seconds| now.checked_sub(std::time::Duration::from_secs(seconds)).ok()).or(since_time);
    Ok(LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        since,
        tail_lines,
        limit_bytes,
        stream: stream.filter(|stream| *stream != "All").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn which_container() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container(&pod, "p", "i").unwrap(), "i");
        assert_eq!(container(&pod, "p", "z").unwrap_err().message, "container z is not valid for pod p");
        assert_eq!(container(&pod, "p", "").unwrap_err().message, "a container name must be specified for pod p, choose one of: [i a b]");
        assert_eq!(container(&json!({"spec": {"containers": [{"name": "a"}]}}), "p", "").unwrap(), "a");
    }
}
