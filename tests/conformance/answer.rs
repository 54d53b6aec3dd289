//! What the server answered.

use http::HeaderMap;
use serde_json::Value;

/// An answer, read to its end.
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The text as JSON; `Null` if it is none.
    pub body: Value,
}

impl Answer {
    /// The object, if all went well.
    pub fn try_ok(self) -> Result<Value, String> {
        if (200..300).contains(&self.code) { Ok(self.body) } else { Err(self.said()) }
    }

    /// The object; all must have gone well.
    #[track_caller]
    pub fn ok(self) -> Value {
        self.try_ok().unwrap_or_else(|said| panic!("{said}"))
    }

    /// The message of a `Status`; the request must have failed with this code and reason.
    #[track_caller]
    pub fn failed(&self, code: u16, reason: &str) -> String {
        assert_eq!((self.code, self.body["reason"].as_str()), (code, Some(reason)), "{}", self.said());
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Everything about it.
    pub fn said(&self) -> String {
        format!("{}\n{} {}", self.request, self.code, self.text)
    }

    /// Warnings, as the header carries them.
    pub fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok());
        let quoted = values.filter_map(|value| value.strip_prefix("299 - \"")?.strip_suffix('"'));
        quoted.map(|text| text.replace("\\\"", "\"").replace("\\\\", "\\")).collect()
    }
}
