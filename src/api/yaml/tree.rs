//! The nodes of a document with their positions, and what they mean as JSON.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::YamlError;
use super::scalar::{Scalar, resolve, tagged};

/// Deepest nesting, aliases followed: readers of JSON have to follow, and they stop at 128.
const MAX_DEPTH: usize = 120;
/// Most nodes and bytes of text that aliases may copy.
const MAX_COPIED: usize = 4 * 1024 * 1024;

#[derive(Debug)]
enum Content {
    Scalar { text: String, plain: bool, tag: Option<String> },
    List(Vec<usize>),
    Map(Vec<(usize, usize)>),
    Alias(usize),
}

#[derive(Debug)]
struct Node {
    line: usize,
    column: usize,
    content: Content,
}

/// One document; the first node is its root.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// A list or map that is not closed yet, with the key that waits for its value.
struct Open {
    node: usize,
    key: Option<usize>,
}

/// The documents of a text without the empty ones.
pub(super) fn read(text: &str) -> Vec<Result<Tree, YamlError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut out = Vec::new();
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((Event::DocumentStart(..), _)) => builder = Builder::default(),
            Ok((Event::DocumentEnd, _)) => {
                let tree = std::mem::take(&mut builder).tree;
                if !tree.is_empty() {
                    out.push(Ok(tree));
                }
            }
            Ok((event, span)) => builder.add(event, span.start),
            Err(error) => {
                builder = Builder::default();
                let mark = error.marker();
                out.push(Err(Tree::error(mark.line(), mark.col() + 1, error.info())));
                if !matches!(parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    out
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    open: Vec<Open>,
    anchors: HashMap<usize, usize>,
}

impl Builder {
    fn add(&mut self, event: Event<'_>, at: Marker) {
        let tag = event.tag().and_then(|tag| {
            if tag.is_yaml_core_schema() { tag.core_suffix().map(str::to_owned) } else { (tag.original() == "!").then(|| "str".to_owned()) }
        });
        let anchor = event.anchor_id();
        let content = match event {
            Event::Scalar(text, style, ..) => Content::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, tag },
            Event::SequenceStart(..) => Content::List(Vec::new()),
            Event::MappingStart(..) => Content::Map(Vec::new()),
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(&target) => Content::Alias(target),
                None => Content::Scalar { text: String::new(), plain: true, tag: None },
            },
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                return;
            }
            _ => return,
        };
        let opens = matches!(content, Content::List(_) | Content::Map(_));
        let node = self.tree.nodes.len();
        self.tree.nodes.push(Node { line: at.line(), column: at.col() + 1, content });
        if let Some(id) = anchor {
            self.anchors.insert(id, node);
        }
        self.attach(node);
        if opens {
            self.open.push(Open { node, key: None });
        }
    }

    fn attach(&mut self, node: usize) {
        let Some(parent) = self.open.last_mut() else { return };
        match &mut self.tree.nodes[parent.node].content {
            Content::List(items) => items.push(node),
            Content::Map(entries) => match parent.key.take() {
                None => parent.key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            _ => {}
        }
    }
}

/// What a conversion has seen so far.
#[derive(Default)]
struct Seen {
    duplicates: Vec<YamlError>,
    copied: usize,
    in_alias: usize,
}

impl Tree {
    fn is_empty(&self) -> bool {
        match self.nodes.first().map(|node| &node.content) {
            None => true,
            Some(Content::Scalar { text, plain: true, tag: None }) => resolve(text) == Scalar::Null,
            Some(_) => false,
        }
    }

    /// The line of the root.
    pub(super) fn line(&self) -> usize {
        self.nodes.first().map_or(1, |node| node.line)
    }

    /// The document as JSON, and the keys that were set twice.
    pub(super) fn to_value(&self) -> Result<(Value, Vec<YamlError>), YamlError> {
        let mut seen = Seen::default();
        let value = self.value(0, 0, &mut seen)?;
        Ok((value, seen.duplicates))
    }

    fn fail<T>(&self, id: usize, message: impl Into<String>) -> Result<T, YamlError> {
        let node = &self.nodes[id];
        Err(Self::error(node.line, node.column, message))
    }

    fn value(&self, id: usize, depth: usize, seen: &mut Seen) -> Result<Value, YamlError> {
        if depth > MAX_DEPTH {
            return self.fail(id, "nested too deeply");
        }
        if seen.in_alias > 0 {
            seen.copied += 1;
            if let Content::Scalar { text, .. } = &self.nodes[id].content {
                seen.copied += text.len();
            }
            if seen.copied > MAX_COPIED {
                return self.fail(id, "document contains excessive aliasing");
            }
        }
        match &self.nodes[id].content {
            Content::Scalar { text, plain, tag } => self.scalar(id, text, *plain, tag.as_deref()),
            Content::List(items) => items.iter().map(|item| self.value(*item, depth + 1, seen)).collect(),
            Content::Map(entries) => self.map(entries, depth, seen),
            Content::Alias(target) => {
                seen.in_alias += 1;
                let value = self.value(*target, depth + 1, seen);
                seen.in_alias -= 1;
                value
            }
        }
    }

    fn scalar(&self, id: usize, text: &str, plain: bool, tag: Option<&str>) -> Result<Value, YamlError> {
        if let Some(tag) = tag {
            return match tagged(tag, text) {
                Some(value) => Ok(value),
                None => self.fail(id, format!("cannot decode {text:?} as !!{tag}")),
            };
        }
        if !plain {
            return Ok(Value::from(text));
        }
        match resolve(text) {
            Scalar::Null => Ok(Value::Null),
            Scalar::Bool(value) => Ok(Value::Bool(value)),
            Scalar::Number(number) => Ok(Value::Number(number)),
            Scalar::Time | Scalar::Text => Ok(Value::from(text)),
            Scalar::NotFinite => self.fail(id, format!("unsupported value: {text}")),
        }
    }

    fn map(&self, entries: &[(usize, usize)], depth: usize, seen: &mut Seen) -> Result<Value, YamlError> {
        let mut out = Map::new();
        let mut merged = Map::new();
        for &(key, value) in entries {
            if self.is_merge(key) {
                self.merge(value, depth, seen, &mut merged)?;
                continue;
            }
            let name = match self.value(key, depth + 1, seen)? {
                Value::String(text) => text,
                scalar @ (Value::Bool(_) | Value::Number(_)) => scalar.to_string(),
                Value::Null => "null".to_owned(),
                Value::Array(_) | Value::Object(_) => return self.fail(key, "a key must be a scalar"),
            };
            let value = self.value(value, depth + 1, seen)?;
            if out.insert(name.clone(), value).is_some() && seen.in_alias == 0 {
                let node = &self.nodes[key];
                seen.duplicates.push(Self::error(node.line, node.column, format!("key {name:?} already set in map")));
            }
        }
        for (key, value) in merged {
            out.entry(key).or_insert(value);
        }
        Ok(Value::Object(out))
    }

    fn is_merge(&self, key: usize) -> bool {
        matches!(&self.nodes[key].content, Content::Scalar { text, plain: true, .. } if text == "<<")
    }

    /// `<<: *map` or `<<: [*a, *b]`, of which the first that has a key wins.
    fn merge(&self, id: usize, depth: usize, seen: &mut Seen, out: &mut Map<String, Value>) -> Result<(), YamlError> {
        let maps = match self.value(id, depth + 1, seen)? {
            map @ Value::Object(_) => vec![map],
            Value::Array(maps) if maps.iter().all(Value::is_object) => maps,
            _ => return self.fail(id, "map merge requires map or sequence of maps as the value"),
        };
        for map in maps {
            if let Value::Object(map) = map {
                for (key, value) in map {
                    out.entry(key).or_insert(value);
                }
            }
        }
        Ok(())
    }

    /// Where the field of these steps stands, or the last of them that is there.
    pub(super) fn locate(&self, steps: &[String]) -> (usize, usize) {
        let position = |id: usize| (self.nodes[id].line, self.nodes[id].column);
        let mut at = 0;
        let mut found = position(0);
        for step in steps {
            if let Content::Alias(target) = self.nodes[at].content {
                at = target;
            }
            let next = match &self.nodes[at].content {
                Content::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (*item, *item)),
                Content::Map(entries) => {
                    let named = |key: &usize| matches!(&self.nodes[*key].content, Content::Scalar { text, .. } if text == step);
                    entries.iter().rev().find(|(key, _)| named(key)).copied()
                }
                _ => None,
            };
            let Some((key, value)) = next else { break };
            found = position(key);
            at = value;
        }
        found
    }
}
