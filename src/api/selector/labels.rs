//! Label selectors: what they mean. How they are read from text is in `parse`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::{Map, Value};

use super::SelectorError;
use super::parse::{check_key, check_value};

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `key in (a,b)`; also `=` and `==`, with one value.
    In,
    /// `key notin (a,b)`; also `!=`. True for objects without the label.
    NotIn,
    /// `key`.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `key>1`.
    GreaterThan,
    /// `key<1`.
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Comparison.
    pub operator: Operator,
    /// Values compared with, sorted.
    pub values: BTreeSet<String>,
    /// Written with `=`, `==` or `!=`: matters for printing only.
    pub(super) symbol: Option<&'static str>,
}

/// Something that has labels.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

/// The value of `metadata.labels`; null has no labels.
impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl<T: Labels> Labels for Option<T> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

impl<T: Labels + ?Sized> Labels for &T {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

impl Requirement {
    /// Whether labels satisfy it.
    pub fn matches(&self, labels: &impl Labels) -> bool {
        let value = labels.label(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let bound = self.values.first().and_then(|bound| bound.parse::<i64>().ok());
                let value = value.and_then(|value| value.parse::<i64>().ok());
                match (value, bound) {
                    (Some(value), Some(bound)) if self.operator == Operator::GreaterThan => value > bound,
                    (Some(value), Some(bound)) => value < bound,
                    _ => false,
                }
            }
        }
    }
}

/// A conjunction of requirements. Without requirements it selects everything; a missing selector in an
/// object selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    pub(super) requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether no object can be selected.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether labels satisfy all requirements.
    pub fn matches(&self, labels: &impl Labels) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Equality with every label of a set, as `spec.selector` of a Service or a ReplicationController says it.
    pub fn from_set<'a>(set: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirement = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            operator: Operator::In,
            values: BTreeSet::from([value.to_owned()]),
            symbol: Some("="),
        };
        Self::of(set.into_iter().map(requirement).collect())
    }

    /// From the object form `{matchLabels, matchExpressions}`; null selects nothing.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        let Some(map) = selector.as_object() else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in map.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            requirements.push(equals(key, value.as_str().unwrap_or_default())?);
        }
        for expression in map.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| expression[key].as_str().unwrap_or_default();
            let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
            requirements.push(expression_requirement(text("key"), text("operator"), values)?);
        }
        Ok(Self::of(requirements))
    }

    /// From the typed object form; `None` selects nothing.
    pub fn from_typed(selector: Option<&meta::LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(equals(key, value)?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.iter().flatten().map(String::as_str);
            requirements.push(expression_requirement(&expression.key, &expression.operator, values)?);
        }
        Ok(Self::of(requirements))
    }

    pub(super) fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }
}

fn equals(key: &str, value: &str) -> Result<Requirement, SelectorError> {
    check_key(key, "key")?;
    check_value(key, value, 0)?;
    let values = BTreeSet::from([value.to_owned()]);
    Ok(Requirement { key: key.to_owned(), operator: Operator::In, values, symbol: Some("=") })
}

fn expression_requirement<'a>(key: &str, operator: &str, values: impl Iterator<Item = &'a str>) -> Result<Requirement, SelectorError> {
    let operator = match operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
    };
    Requirement::new(key, operator, values.map(str::to_owned).collect(), None)
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.operator == Operator::DoesNotExist {
            f.write_str("!")?;
        }
        f.write_str(&self.key)?;
        let joined = || self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match (self.operator, self.symbol) {
            (Operator::Exists | Operator::DoesNotExist, _) => Ok(()),
            (_, Some(symbol)) => write!(f, "{symbol}{}", joined()),
            (Operator::In, None) => write!(f, " in ({})", joined()),
            (Operator::NotIn, None) => write!(f, " notin ({})", joined()),
            (Operator::GreaterThan, None) => write!(f, ">{}", joined()),
            (Operator::LessThan, None) => write!(f, "<{}", joined()),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn object_form() {
        let selector = LabelSelector::from_object(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}, {"key": "x", "operator": "Exists"}],
        }))
        .unwrap();
        assert_eq!(selector.to_string(), "app=web,tier notin (db),x");
        assert!(selector.matches(&json!({"app": "web", "x": ""})));
        assert!(!selector.matches(&json!({"app": "web", "x": "", "tier": "db"})));
        assert!(!selector.matches(&json!({"app": "web"})));
        assert!(LabelSelector::from_object(&json!({})).unwrap().matches(&Value::Null));
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(&json!({"app": "web"})));
        let error = LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Like"}]})).unwrap_err();
        assert_eq!(error.to_string(), "\"Like\" is not a valid label selector operator");
    }

    #[test]
    fn typed_form_means_the_same() {
        let typed = meta::LabelSelector {
            match_labels: Some(BTreeMap::from([("app".to_owned(), "web".to_owned())])),
            match_expressions: Some(vec![meta::LabelSelectorRequirement {
                key: "n".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec!["2".to_owned(), "1".to_owned()]),
            }]),
        };
        let object = serde_json::to_value(&typed).unwrap();
        let selector = LabelSelector::from_typed(Some(&typed)).unwrap();
        assert_eq!(selector, LabelSelector::from_object(&object).unwrap());
        assert_eq!(selector.to_string(), "app=web,n in (1,2)");
        assert!(LabelSelector::from_typed(None).unwrap().is_nothing());
    }
}
