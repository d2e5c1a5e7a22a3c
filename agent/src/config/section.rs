//! One table of the file, emptied field by field.
//! Holds: whatever is left at the end is an unknown field; every complaint names file, field and value.

use super::error::ConfigError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use toml::{Table, Value};

pub(super) struct Section {
    file: PathBuf,
    /// The table's name with a dot, or nothing for the top.
    prefix: String,
    table: Table,
    known: Vec<&'static str>,
}

impl Section {
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            ConfigError::Syntax {
                file: file.display().to_string(),
                line,
                detail: error.message().replace('\n', ", "),
            }
        })?;
        Ok(Self {
            file: file.to_owned(),
            prefix: String::new(),
            table,
            known: Vec::new(),
        })
    }

    /// A table that is not in the file.
    pub(super) fn empty(&self, name: &str) -> Self {
        Self {
            file: self.file.clone(),
            prefix: format!("{name}."),
            table: Table::new(),
            known: Vec::new(),
        }
    }

    pub(super) fn section(&mut self, name: &'static str) -> Result<Option<Self>, ConfigError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self {
                table,
                ..self.empty(name)
            })),
            Some(other) => {
                Err(self.wrong(name, &other.to_string(), &format!("a table, as [{name}]")))
            }
        }
    }

    /// Complains of every field that nobody asked for.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let Some((name, value)) = self.table.iter().next() else {
            return Ok(());
        };
        Err(ConfigError::UnknownField {
            file: self.file.display().to_string(),
            field: format!("{}{name}", self.prefix),
            value: one_line(&value.to_string()),
            known: self.known.join(", "),
        })
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, ConfigError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, &other.to_string(), "text in quotes")),
        }
    }

    pub(super) fn parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        right: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| self.wrong(name, &format!("{text:?}"), right))
    }

    pub(super) fn required<T: FromStr>(
        &mut self,
        name: &'static str,
        right: &str,
    ) -> Result<T, ConfigError> {
        self.parsed(name, right)?
            .ok_or_else(|| self.missing(name, right))
    }

    pub(super) fn number(
        &mut self,
        name: &'static str,
        default: usize,
    ) -> Result<usize, ConfigError> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Integer(number)) => usize::try_from(number)
                .map_err(|_| self.wrong(name, &number.to_string(), "a whole number from 0")),
            Some(other) => Err(self.wrong(name, &other.to_string(), "a whole number from 0")),
        }
    }

    pub(super) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        const RIGHT: &str =
            "a whole number with a unit in quotes, as \"500ms\", \"180s\", \"3m\" or \"1h\"";
        match self.take(name) {
            None => Ok(default),
            Some(Value::String(text)) => {
                duration(&text).ok_or_else(|| self.wrong(name, &format!("{text:?}"), RIGHT))
            }
            Some(other) => Err(self.wrong(name, &other.to_string(), RIGHT)),
        }
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let texts = value.as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        texts
            .map(Some)
            .ok_or_else(|| self.wrong(name, &value.to_string(), "a list of texts"))
    }

    /// A program and its arguments.
    pub(super) fn argv(&mut self, name: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let argv = self.texts(name)?;
        match argv.as_ref().and_then(|argv| argv.first()) {
            Some(program) if !program.is_empty() => Ok(argv),
            None if argv.is_none() => Ok(None),
            Some(_) | None => Err(self.wrong(
                name,
                "[]",
                "a program and its arguments, as [\"/sbin/poweroff\"]",
            )),
        }
    }

    pub(super) fn text_map(
        &mut self,
        name: &'static str,
    ) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let map = value.as_table().and_then(|table| {
            table
                .iter()
                .map(|(key, item)| Some((key.clone(), item.as_str()?.to_owned())))
                .collect::<Option<_>>()
        });
        map.map(Some).ok_or_else(|| {
            self.wrong(
                name,
                &value.to_string(),
                "a table of texts, as { default = \"eth0\" }",
            )
        })
    }

    /// A path; a relative one begins at the file's folder.
    pub(super) fn path(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<PathBuf, ConfigError> {
        let path = self.text(name)?;
        Ok(self.beside(path.as_deref().unwrap_or(default)))
    }

    /// A file that is named, or the default one if that exists; it can be opened.
    pub(super) fn file(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<Option<PathBuf>, ConfigError> {
        let named = self.text(name)?;
        let path = self.beside(named.as_deref().unwrap_or(default));
        match std::fs::File::open(&path) {
            Ok(_) => Ok(Some(path)),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) if named.is_none() => Err(ConfigError::Unreadable {
                file: path.display().to_string(),
                source: error,
            }),
            Err(error) => {
                let value = format!("{:?}", path.display().to_string());
                Err(self.wrong(
                    name,
                    &value,
                    &format!("a file that the agent can read ({error})"),
                ))
            }
        }
    }

    pub(super) fn wrong(&self, name: &str, value: &str, right: &str) -> ConfigError {
        ConfigError::Wrong {
            file: self.file.display().to_string(),
            field: format!("{}{name}", self.prefix),
            value: one_line(value),
            right: right.to_owned(),
        }
    }

    pub(super) fn missing(&self, name: &str, right: &str) -> ConfigError {
        ConfigError::Missing {
            file: self.file.display().to_string(),
            field: format!("{}{name}", self.prefix),
            right: right.to_owned(),
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.table.remove(name)
    }

    fn beside(&self, path: &str) -> PathBuf {
        self.file
            .parent()
            .unwrap_or_else(|| Path::new("."))
            .join(path)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}
