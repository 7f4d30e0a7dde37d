//! Which fields of an event type a token may read.

use std::collections::BTreeMap;

use contract::{BodySchema, FieldType};
use serde_json::Value;

/// All of something, or some of its parts and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Allowed {
    Everything,
    Parts(BTreeMap<&'static str, Allowed>),
}

impl Allowed {
    /// What may be read where nothing is said: all that is not private.
    pub(super) fn unless_private(schema: &'static BodySchema) -> Self {
        let fields = schema.fields.iter().filter(|field| !field.private);
        let parts = fields.map(|field| {
            let below = inner(field.field_type).map_or(Self::Everything, Self::unless_private);
            (field.name, below)
        });
        Self::Parts(parts.collect())
    }

    /// Nothing yet; [`Allowed::add`] makes it more.
    pub(super) fn nothing() -> Self {
        Self::Parts(BTreeMap::new())
    }

    /// Adds a field by its path: `status`, `ship_to` with all that is in it, `ship_to.country`, or `*` for
    /// everything.
    ///
    /// # Errors
    /// The name that there is not, and those that there are at its place.
    pub(super) fn add(
        &mut self,
        schema: &'static BodySchema,
        path: &str,
    ) -> Result<(), (String, Vec<&'static str>)> {
        if path == "*" {
            *self = Self::Everything;
            return Ok(());
        }
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let names = || schema.fields.iter().map(|field| field.name).collect();
        let Some(field) = schema.field(name) else {
            return Err((name.to_owned(), names()));
        };
        let below = match rest {
            Some(rest) => Some((
                inner(field.field_type).ok_or((rest.to_owned(), vec![]))?,
                rest,
            )),
            None => None,
        };
        let Self::Parts(parts) = self else {
            return below.map_or(Ok(()), |(inner, rest)| Self::nothing().add(inner, rest));
        };
        match below {
            None => {
                parts.insert(field.name, Self::Everything);
                Ok(())
            }
            Some((inner, rest)) => {
                let part = parts.entry(field.name).or_insert_with(Self::nothing);
                part.add(inner, rest)
            }
        }
    }

    /// Whether it is all that there is.
    pub(super) fn covers(&self, schema: &'static BodySchema) -> bool {
        let Self::Parts(parts) = self else {
            return true;
        };
        schema.fields.iter().all(|field| {
            let part = parts.get(field.name);
            part.is_some_and(|part| match inner(field.field_type) {
                Some(inner) => part.covers(inner),
                None => true,
            })
        })
    }

    /// What of a body may be read.
    pub(super) fn of(&self, value: Value) -> Value {
        let Self::Parts(parts) = self else {
            return value;
        };
        match value {
            Value::Object(fields) => {
                let fields = fields.into_iter();
                let allowed = fields.filter_map(|(name, value)| {
                    let part = parts.get(name.as_str())?;
                    Some((name, part.of(value)))
                });
                Value::Object(allowed.collect())
            }
            Value::Array(items) => items.into_iter().map(|item| self.of(item)).collect(),
            // A part of what has none: not what the schema says.
            _ => Value::Null,
        }
    }
}

fn inner(field_type: FieldType) -> Option<&'static BodySchema> {
    match field_type {
        FieldType::List(schema) | FieldType::Object(schema) => Some(schema),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use contract::EventType;
    use contract::schema::example;
    use serde_json::json;

    use super::*;

    fn some(schema: &'static BodySchema, paths: &[&str]) -> Allowed {
        let mut allowed = Allowed::nothing();
        for path in paths {
            allowed.add(schema, path).unwrap();
        }
        allowed
    }

    fn body(event_type: EventType) -> Value {
        let event = example(event_type).unwrap();
        serde_json::from_str(event.body_json().unwrap()).unwrap()
    }

    #[test]
    fn only_what_is_named_is_read_and_a_name_means_all_that_is_in_it() {
        let schema = EventType::Order.schema();
        let order = body(EventType::Order);
        let read = some(schema, &["lifecycle", "lines.sku", "ship_to.country"]).of(order.clone());
        assert_eq!(
            read.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["ship_to", "lifecycle", "lines"]
        );
        assert_eq!(
            read["ship_to"],
            json!({"country": order["ship_to"]["country"]})
        );
        for (line, whole) in read["lines"]
            .as_array()
            .unwrap()
            .iter()
            .zip(order["lines"].as_array().unwrap())
        {
            assert_eq!(*line, json!({"sku": whole["sku"]}));
        }
        assert_eq!(
            some(schema, &["ship_to"]).of(order.clone())["ship_to"],
            order["ship_to"]
        );
        assert_eq!(some(schema, &["*"]).of(order.clone()), order);
        assert_eq!(Allowed::nothing().of(order), json!({}));
    }

    #[test]
    fn where_nothing_is_said_private_fields_stay_away_wherever_they_stand() {
        for event_type in EventType::ALL {
            let schema = event_type.schema();
            let read = Allowed::unless_private(schema)
                .of(body(event_type))
                .to_string();
            for name in [
                "email",
                "phone",
                "postal",
                "city",
                "tax_id",
                "customer_name",
                "credit_limit",
                "salesperson",
                "unit_cost",
                "hold_reasons",
            ] {
                assert!(
                    !read.contains(&format!("\"{name}\"")),
                    "{event_type}: {name}"
                );
            }
        }
        let (order, stock) = (EventType::Order, EventType::InventoryAvailability);
        assert!(
            body(order)["ship_to"].get("city").is_some(),
            "the example has what stays away"
        );
        assert!(!Allowed::unless_private(order.schema()).covers(order.schema()));
        assert!(Allowed::unless_private(stock.schema()).covers(stock.schema()));
        assert!(some(order.schema(), &["*"]).covers(order.schema()));
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        let schema = EventType::Order.schema();
        let mut allowed = Allowed::nothing();
        let (name, known) = allowed.add(schema, "ship_to.town").unwrap_err();
        assert!(
            name == "town" && known.contains(&"city"),
            "{name} {known:?}"
        );
        let (name, known) = allowed.add(schema, "number").unwrap_err();
        assert!(
            name == "number" && known.contains(&"order_number"),
            "{known:?}"
        );
        assert!(allowed.add(schema, "order_number.x").is_err());
        // What is not a field is no more one where everything is allowed already.
        let mut all = some(schema, &["*"]);
        assert!(all.add(schema, "number").is_err() && all.add(schema, "ship_to.town").is_err());
    }
}
