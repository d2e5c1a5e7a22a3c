//! YAML as kubectl reads it: several documents in one text, each a JSON value that knows its lines.
//!
//! In: text. Out: [`Document`]s, or the line where the text is no YAML.
//! Holds: a plain `on`, `off`, `yes` or `no` is a boolean, as kubectl has it (YAML 1.1), so that a lab means the same in both
//! modes; a key written twice is refused; depth and size are bounded, also through aliases.
//! Not here: what the fields mean.

mod scalar;

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Value};

pub(crate) use scalar::whole_number;

/// Nesting that no honest lab reaches.
const MAX_DEPTH: usize = 32;

/// Values in one text, aliases counted as often as they are used; 2000 machines need some 40,000.
const MAX_VALUES: usize = 400_000;

/// One document of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Place among the documents of its text, from 0. Empty documents count.
    pub index: usize,
    /// Line of its first content, from 1.
    pub line: usize,
    /// Its content.
    pub value: Value,
    lines: BTreeMap<String, usize>,
}

impl Document {
    /// The line of a field like `spec.wakeOnLAN.mac`, or of the nearest enclosing field that is written.
    #[must_use]
    pub fn line_of(&self, field: &str) -> usize {
        let mut path = field;
        loop {
            // A key of a map is written in brackets by rules and after a dot by the schema.
            let dotted = path
                .strip_suffix(']')
                .map(|path| path.replacen('[', ".", 1));
            let line = self.lines.get(path).or_else(|| self.lines.get(&dotted?));
            match (line, path.rfind(['.', '['])) {
                (Some(line), _) => return *line,
                (None, Some(end)) => path = &path[..end],
                (None, None) => return self.line,
            }
        }
    }
}

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct NotYaml {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong, without the line.
    pub what: String,
}

/// Splits a text into its documents. Empty documents are left out.
///
/// # Errors
///
/// The first place where the text is no YAML, or none that can be JSON.
pub fn documents(text: &str) -> Result<Vec<Document>, NotYaml> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        values: 0,
        anchors: HashMap::new(),
        lines: BTreeMap::new(),
    };
    let mut documents = Vec::new();
    let mut index = 0;
    while let Some((event, _)) = reader.next()? {
        match event {
            Event::DocumentStart(_) => {
                reader.anchors.clear();
                let (event, span) = reader.expect_more(1)?;
                let value = reader.value(event, span, "", 0)?;
                let lines = std::mem::take(&mut reader.lines);
                if !value.is_null() {
                    documents.push(Document {
                        index,
                        line: span.start.line(),
                        value,
                        lines,
                    });
                }
                index += 1;
            }
            Event::StreamEnd => break,
            Event::Nothing
            | Event::StreamStart
            | Event::DocumentEnd
            | Event::Alias(_)
            | Event::Scalar(..) => {}
            Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd => {}
        }
    }
    Ok(documents)
}

/// Builds values from parser events.
struct Reader<'input> {
    events: Parser<'input, saphyr_parser::StrInput<'input>>,
    values: usize,
    anchors: HashMap<usize, Value>,
    lines: BTreeMap<String, usize>,
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, NotYaml> {
        self.events
            .next()
            .transpose()
            .map_err(|error: ScanError| NotYaml {
                line: error.marker().line(),
                what: error.info().to_owned(),
            })
    }

    fn expect_more(&mut self, line: usize) -> Result<(Event<'input>, Span), NotYaml> {
        self.next()?.ok_or_else(|| NotYaml {
            line,
            what: "the text ends too early".to_owned(),
        })
    }

    /// The value that begins with `event`.
    fn value(
        &mut self,
        event: Event<'input>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Value, NotYaml> {
        let line = span.start.line();
        let refuse = |what: &str| {
            Err(NotYaml {
                line,
                what: what.to_owned(),
            })
        };
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return refuse("too deep or too large for a lab");
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text =
                    style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                let value = if is_text {
                    Value::String(text.into_owned())
                } else {
                    scalar::plain(&text)
                };
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(line, path, depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(line, path, depth)?, anchor),
            Event::Alias(id) => {
                let Some(value) = self.anchors.get(&id).cloned() else {
                    return refuse("an alias is used before its anchor is complete");
                };
                self.values += size(&value);
                (value, 0)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                return refuse("a value is missing");
            }
            Event::DocumentEnd | Event::SequenceEnd | Event::MappingEnd => {
                return refuse("a value is missing");
            }
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn list(&mut self, line: usize, path: &str, depth: usize) -> Result<Value, NotYaml> {
        let mut list = Vec::new();
        loop {
            let (event, span) = self.expect_more(line)?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(list));
            }
            let path = format!("{path}[{}]", list.len());
            self.lines.insert(path.clone(), span.start.line());
            list.push(self.value(event, span, &path, depth + 1)?);
        }
    }

    fn map(&mut self, line: usize, path: &str, depth: usize) -> Result<Value, NotYaml> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.expect_more(line)?;
            if event == Event::MappingEnd {
                break;
            }
            let line = span.start.line();
            let merges =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let Some(key) = scalar::key(self.value(event, span, path, depth + 1)?) else {
                return Err(NotYaml {
                    line,
                    what: "a key must be text".to_owned(),
                });
            };
            let field = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            if map.contains_key(&key) {
                return Err(NotYaml {
                    line,
                    what: format!("duplicate field {field:?}"),
                });
            }
            self.lines.insert(field.clone(), line);
            let (event, span) = self.expect_more(line)?;
            let value = self.value(event, span, &field, depth + 1)?;
            if merges {
                merged.push(value);
            } else {
                map.insert(key, value);
            }
        }
        merged.into_iter().for_each(|value| merge(&mut map, value));
        Ok(Value::Object(map))
    }
}

/// What `<<` brings in: keys that the map does not have itself.
fn merge(map: &mut Map<String, Value>, value: Value) {
    match value {
        Value::Object(other) => {
            for (key, value) in other {
                map.entry(key).or_insert(value);
            }
        }
        Value::Array(list) => list.into_iter().for_each(|value| merge(map, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Number of values in `value`, itself included.
fn size(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

#[cfg(test)]
mod tests;
