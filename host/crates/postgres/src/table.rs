//! Tables: their columns, and the statement that adds rows.
//!
//! A batch is one parameter, a JSON array. The server makes rows of it, by the types that the columns have; so whatever it can make of JSON can be written.

use tokio_postgres::Client;

use crate::error::{Kind, Problem, Stop, described, kind};

/// The table with the watermark of each sink, in the schema of the table that is written.
pub(crate) const WATERMARKS: &str = "dirigo_watermark";

/// The name of a table, with its schema if the pipeline file names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    schema: Option<String>,
    table: String,
}

impl Name {
    /// As `table` or `schema.table`; `None` where a part is empty.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (schema, table) = match text.split_once('.') {
            None => (None, text),
            Some((schema, table)) => (Some(schema), table),
        };
        let is_name = |part: &str| !part.is_empty() && !part.contains('\0');
        let are_names = is_name(table) && schema.is_none_or(is_name);
        are_names.then(|| Self {
            schema: schema.map(str::to_owned),
            table: table.to_owned(),
        })
    }

    /// As it stands in statements.
    pub(crate) fn quoted(&self) -> String {
        self.of_same_schema(&self.table)
    }

    /// Another table of the same schema.
    pub(crate) fn of_same_schema(&self, table: &str) -> String {
        match &self.schema {
            None => quoted(table),
            Some(schema) => format!("{}.{}", quoted(schema), quoted(table)),
        }
    }
}

/// A name as it stands in statements.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as it stands in statements.
fn literal(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\"))
    } else {
        format!("'{text}'")
    }
}

/// How an event is written whose row exists already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnConflict {
    /// They are refused.
    #[default]
    Fail,
    /// The row with the same values in these columns gets the other values of the event.
    Update(Vec<String>),
}

/// A column of a table.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// As the server writes its type.
    kind: String,
    must_have_value: bool,
    has_default: bool,
    is_generated: bool,
}

/// How rows are added.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Adds rows and moves the watermark, in one statement: `$1` is the JSON, `$2` to `$5` are pipeline, sink, lineage and batch. Adds nothing where the watermark is
    /// not at the batch before.
    pub(crate) deliver: String,
    /// Adds rows alone.
    pub(crate) insert: String,
}

/// The table and the columns that a sink writes, as the pipeline file names them.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Name,
    /// The columns, if the pipeline file names them.
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) on_conflict: OnConflict,
}

impl Wanted {
    /// Reads the definition of the table, and says how rows are added. Fails where the table cannot take them.
    pub(crate) async fn statement(&self, client: &Client, server: &str, user: &str) -> Result<Statement, Stop> {
        let columns = self.columns(client, server, user).await?;
        let wanted = self.chosen(&columns, server)?;
        let statement = self.written(&wanted);
        // The server checks names, types and rights, and changes nothing.
        let explained = statement.insert.replace("$1::text::json", "'[]'::json");
        client
            .batch_execute(&format!("EXPLAIN {explained}"))
            .await
            .map_err(|error| self.failed(server, &error))?;
        Ok(statement)
    }

    /// The outcome where a statement fails, other than by the values of rows.
    pub(crate) fn failed(&self, server: &str, error: &tokio_postgres::Error) -> Stop {
        let reason = described(error);
        match kind(error) {
            Kind::Passing => Stop::Retry(reason),
            Kind::Rows => Stop::Rows(reason),
            Kind::Lasting => Problem::Statement {
                server: server.to_owned(),
                table: self.name.quoted(),
                reason,
            }
            .into(),
        }
    }

    async fn columns(&self, client: &Client, server: &str, user: &str) -> Result<Vec<Column>, Stop> {
        let rows = client
            .query(
                "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> '', \
                 attgenerated <> '' OR attidentity = 'a' FROM pg_attribute \
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                &[&self.name.quoted()],
            )
            .await
            .map_err(|error| self.failed(server, &error))?;
        if rows.is_empty() {
            return Err(Problem::NoTable {
                server: server.to_owned(),
                table: self.name.quoted(),
                user: user.to_owned(),
            }
            .into());
        }
        let column = |row: &tokio_postgres::Row| Column {
            name: row.get(0),
            kind: row.get(1),
            must_have_value: row.get(2),
            has_default: row.get(3),
            is_generated: row.get(4),
        };
        Ok(rows.iter().map(column).collect())
    }

    /// The columns that are written: those that the pipeline file names, or else those that have no default.
    fn chosen<'c>(&self, columns: &'c [Column], server: &str) -> Result<Vec<&'c Column>, Problem> {
        let (server, table) = (server.to_owned(), self.name.quoted());
        let find = |name: &str, key: &'static str| {
            columns.iter().find(|column| column.name == name).ok_or_else(|| {
                let names: Vec<_> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
                Problem::NoColumn {
                    server: server.clone(),
                    table: table.clone(),
                    column: name.to_owned(),
                    key,
                    has: names.join(", "),
                }
            })
        };
        if let OnConflict::Update(conflict) = &self.on_conflict {
            for name in conflict {
                find(name, "conflict")?;
            }
        }
        let chosen: Vec<&Column> = match &self.columns {
            None => columns
                .iter()
                .filter(|column| !column.has_default && !column.is_generated)
                .collect(),
            Some(names) => names
                .iter()
                .map(|name| find(name, "columns"))
                .collect::<Result<_, _>>()?,
        };
        if chosen.is_empty() {
            return Err(Problem::NoColumns { server, table });
        }
        if let Some(column) = chosen.iter().find(|column| column.is_generated) {
            let column = column.name.clone();
            return Err(Problem::Generated { server, table, column });
        }
        let is_written = |column: &Column| chosen.iter().any(|chosen| chosen.name == column.name);
        let is_unfilled = |column: &&Column| {
            column.must_have_value && !column.has_default && !column.is_generated && !is_written(column)
        };
        if let Some(column) = columns.iter().find(is_unfilled) {
            let column = column.name.clone();
            return Err(Problem::Unfilled { server, table, column });
        }
        Ok(chosen)
    }

    fn written(&self, columns: &[&Column]) -> Statement {
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let typed: Vec<String> = columns
            .iter()
            .map(|column| format!("{} {}", quoted(&column.name), column.kind))
            .collect();
        let (names, typed) = (names.join(", "), typed.join(", "));
        // In the order of the events, so that a serial number has that order.
        let rows = format!(
            "ROWS FROM (json_to_recordset($1::text::json) AS ({typed})) WITH ORDINALITY AS event({names}, \"dirigo's place\")"
        );
        let place = "event.\"dirigo's place\"";
        let of_event: Vec<String> = columns
            .iter()
            .map(|column| format!("event.{}", quoted(&column.name)))
            .collect();
        let of_event = of_event.join(", ");
        let (distinct, order, on_conflict) = match &self.on_conflict {
            OnConflict::Fail => (String::new(), place.to_owned(), String::new()),
            OnConflict::Update(conflict) => {
                let keys: Vec<String> = conflict.iter().map(|name| quoted(name)).collect();
                let of_event: Vec<String> = keys.iter().map(|key| format!("event.{key}")).collect();
                let others = columns.iter().filter(|column| !conflict.contains(&column.name));
                let set: Vec<String> = others
                    .map(|column| format!("{0} = EXCLUDED.{0}", quoted(&column.name)))
                    .collect();
                let (keys, of_event) = (keys.join(", "), of_event.join(", "));
                let action = if set.is_empty() {
                    "DO NOTHING".to_owned()
                } else {
                    format!("DO UPDATE SET {}", set.join(", "))
                };
                // Only the last event of a key counts, since a statement changes a row once. An event with NULL in the key matches no row, so each is added.
                let nullable = columns
                    .iter()
                    .filter(|column| conflict.contains(&column.name) && !column.must_have_value);
                let is_null: Vec<String> = nullable
                    .map(|column| format!("event.{} IS NULL", quoted(&column.name)))
                    .collect();
                let distinct = if is_null.is_empty() {
                    of_event
                } else {
                    format!("{of_event}, CASE WHEN {} THEN {place} END", is_null.join(" OR "))
                };
                (
                    format!("DISTINCT ON ({distinct}) "),
                    format!("{distinct}, {place} DESC"),
                    format!(" ON CONFLICT ({keys}) {action}"),
                )
            }
        };
        let insert = |mark: &str, from: &str| {
            format!(
                "{mark}INSERT INTO {} ({names}) SELECT {distinct}{of_event} FROM {from}{rows} ORDER BY {order}{on_conflict}",
                self.name.quoted()
            )
        };
        let mark = format!(
            "WITH mark AS (UPDATE {} SET batch = $5::bigint WHERE pipeline = $2 AND sink = $3 AND lineage = $4 AND batch = $5::bigint - 1 RETURNING batch) ",
            self.name.of_same_schema(WATERMARKS)
        );
        Statement {
            deliver: insert(&mark, "mark CROSS JOIN "),
            insert: insert("", ""),
        }
    }

    /// Makes the table of watermarks.
    pub(crate) fn create_watermarks(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (pipeline text, sink text, lineage text, batch bigint NOT NULL, PRIMARY KEY (pipeline, sink, lineage))",
            self.watermarks()
        )
    }

    /// The table of watermarks, as it stands in statements.
    pub(crate) fn watermarks(&self) -> String {
        self.name.of_same_schema(WATERMARKS)
    }

    /// Whether the table of watermarks is there, as a statement.
    pub(crate) fn look_for_watermarks(&self) -> String {
        format!("SELECT to_regclass({}) IS NOT NULL", literal(&self.watermarks()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted_whatever_is_in_them() {
        let name = Name::parse("my \"schema\".it's").unwrap();
        assert_eq!(name.quoted(), "\"my \"\"schema\"\"\".\"it's\"");
        assert_eq!(Name::parse("readings").unwrap().quoted(), "\"readings\"");
        assert!(Name::parse("a.").is_none() && Name::parse("").is_none());
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }

    #[test]
    fn the_last_event_of_a_key_updates_the_row() {
        let wanted = Wanted {
            name: Name::parse("t").unwrap(),
            columns: None,
            on_conflict: OnConflict::Update(vec!["id".to_owned()]),
        };
        let column = |name: &str, must_have_value| Column {
            name: name.to_owned(),
            kind: "integer".to_owned(),
            must_have_value,
            has_default: false,
            is_generated: false,
        };
        let statement = wanted.written(&[&column("id", true), &column("n", false)]).insert;
        assert!(
            statement.contains("DISTINCT ON (event.\"id\")")
                && statement.ends_with("ON CONFLICT (\"id\") DO UPDATE SET \"n\" = EXCLUDED.\"n\""),
            "{statement}"
        );
        let statement = wanted.written(&[&column("id", false), &column("n", false)]).insert;
        let distinct = "DISTINCT ON (event.\"id\", CASE WHEN event.\"id\" IS NULL THEN event.\"dirigo's place\" END)";
        assert!(statement.contains(distinct), "{statement}");
    }
}
