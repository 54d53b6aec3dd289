//! Service account tokens, bound to their pod and renewed in time.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};

use crate::agent::Agent;
use crate::pod::{name, namespace, spec, uid};

const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// When a token was issued and ends.
fn lifetime(token: &str) -> Option<(Timestamp, Timestamp)> {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let at = |key: &str| claims[key].as_i64().and_then(|second| Timestamp::from_second(second).ok());
    Some((at("iat")?, at("exp")?))
}

/// A token is renewed after 80 % of its life, or after a day.
fn renew_at(issued: Timestamp, ends: Timestamp) -> Timestamp {
    let life: Duration = ends.duration_since(issued).try_into().unwrap_or_default();
    issued + (life * 4 / 5).min(LONGEST)
}

/// The token in `current` while it is good, else a new one; and when it has to be renewed.
pub(super) async fn token(
    agent: &Agent,
    pod: &Pod,
    audience: Option<&str>,
    seconds: i64,
    current: Option<String>,
) -> Result<(String, Timestamp), String> {
    let now = agent.clock.now();
    if let Some(current) = current
        && let Some((issued, ends)) = lifetime(&current)
        && renew_at(issued, ends) > now
    {
        return Ok((current, renew_at(issued, ends)));
    }
    let account = spec(pod).service_account_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
    let api: Api<ServiceAccount> = Api::namespaced(agent.objects.client().clone(), namespace(pod));
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.filter(|audience| !audience.is_empty()).map(|audience| vec![audience.to_owned()]),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(name(pod).to_owned()),
                uid: Some(uid(pod).to_owned()),
            }),
            expiration_seconds: Some(seconds),
        }),
        ..TokenRequest::default()
    };
    let answer = api.create_token_request(&account, &PostParams::default(), &request).await;
    let answer = answer.map_err(|error| format!("failed to fetch token: {error}"))?;
    let status = answer.status.ok_or("failed to fetch token: the answer has no status")?;
    let text = status.token.ok_or("failed to fetch token: the answer has no token")?;
    let ends = status.expiration_timestamp.map_or(now, |ends| ends.0);
    let issued = lifetime(&text).map_or(now, |(issued, _)| issued);
    Ok((text, renew_at(issued, ends)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_lifetime_is_read_from_the_token() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000,"exp":4600}"#);
        let (issued, ends) = lifetime(&format!("x.{claims}.y")).unwrap();
        assert_eq!((issued.as_second(), ends.as_second()), (1_000, 4_600));
        assert_eq!(renew_at(issued, ends).as_second(), 1_000 + 2_880);
        assert!(lifetime("nonsense").is_none());
    }
}
