//! Amounts of a resource (`4`, `500m`, `16Gi`) as YAML holds them: text or a whole number.
//!
//! Not here: arithmetic. The template code compares amounts in its own units.

use serde::{Deserialize, Deserializer, Serialize};

/// The written form of an amount, for example `16Gi`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Quantity(pub String);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(number) => Self(number.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}
