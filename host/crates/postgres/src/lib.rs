//! Rows of `PostgreSQL` tables.
//!
//! A sink adds a row for each event, and notes in the same transaction how far it has come. Owns the keys of the pipeline file and what they mean together.

mod connection;
mod error;
mod row;
mod sink;
mod table;

use std::sync::Arc;

use dirigo_connect::{Pointer, SinkSpec};
use dirigo_connectors::servers::{self, Secret};
use dirigo_pipeline::keys::{At, Choice, Diagnostic, Entries, Field, Validation, Word};
use dirigo_pipeline::{SinkConnector, section};

use self::connection::Servers;
use self::row::Mapped;
use self::table::{Name, OnConflict, Wanted};

/// How an event is written whose row exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictWord {
    /// It is refused.
    Fail,
    /// It updates the row.
    Update,
}

impl Choice for ConflictWord {
    const WHAT: &'static str = "`on_conflict`";
    const WORDS: &'static [(&'static str, Self)] = &[("fail", Self::Fail), ("update", Self::Update)];
}

section! {
    /// The keys of a sink that writes a table of PostgreSQL.
    pub struct SinkKeys = "[[sink]]" {
        /// For postgres: the URLs of servers, of which the first that takes writes is used, such as `["postgres://127.0.0.1:5432"]`.
        servers: Vec<At<String>>,
        /// For postgres: the database.
        database: String,
        /// For postgres: the table, such as "averages" or "plant.averages".
        table: String,
        /// For postgres: where the value of each column is in an event: a field such as "value", or a JSON pointer such as "/sensor/id". Default: each column of
        /// the table that has no default gets the field of its name.
        columns: Entries<String>,
        /// For postgres: what becomes of an event whose row is there already: "fail" ends the run, "update" changes the row.
        #[schemars(extend("default" = "fail"))]
        on_conflict: Word<ConflictWord>,
        /// For postgres: the columns by which a row is the same, with `on_conflict = "update"`; the table has a unique index on them.
        conflict: Vec<At<String>>,
        /// For postgres: the user as whom to connect.
        user: String,
        /// For postgres: the password of the user.
        password: String,
        /// For postgres: whether the connection is encrypted and the certificate of the server verified.
        #[schemars(extend("default" = true))]
        tls: bool,
        /// For postgres: certificates of authorities in PEM that vouch for the servers, such as `{ file = "ca.pem" }`. Default: those of the machine.
        ca: String,
    }
}

/// `kind = "postgres"` of a sink.
#[derive(Clone, Copy, Debug)]
pub struct PostgresSink;

impl SinkConnector for PostgresSink {
    type Keys = SinkKeys;

    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn validate(&self, keys: &SinkKeys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        let servers = servers(keys, who, validation);
        let example = "\"averages\"";
        let table = keys
            .table
            .required("table", example, keys.place, who, &mut validation.problems)
            .and_then(|at| {
                let name = Name::parse(&at.value);
                if name.is_none() {
                    let problem = Diagnostic::error(format!("{who} has no table")).at(at.place, "no name of a table");
                    validation
                        .problems
                        .push(problem.help("it is such as \"averages\" or \"plant.averages\""));
                }
                name
            });
        let columns = columns(&keys.columns, who, validation);
        let on_conflict = on_conflict(keys, who, validation);
        let columns = columns?;
        let on_conflict = on_conflict?;
        if let (Some(columns), OnConflict::Update(conflict)) = (&columns, &on_conflict)
            && let Some(missing) = conflict
                .iter()
                .find(|name| columns.iter().all(|mapped| mapped.column != **name))
        {
            let place = keys.conflict.key().unwrap_or(keys.place);
            let problem = Diagnostic::error(format!("`{missing}` is not among the `columns` of {who}"));
            validation
                .problems
                .push(problem.at(place, "rows are the same by columns that events fill"));
            return None;
        }
        let names = columns
            .as_ref()
            .map(|columns| columns.iter().map(|mapped| mapped.column.clone()).collect());
        Some(Arc::new(sink::PostgresSpec {
            servers: servers?,
            wanted: Wanted {
                name: table?,
                columns: names,
                on_conflict,
            },
            columns,
        }))
    }
}

/// Where the values of columns are, if the pipeline file says so.
#[allow(clippy::option_option, reason = "what is wrong is told from what is not said")]
fn columns(field: &Field<Entries<String>>, who: &str, validation: &mut Validation<'_>) -> Option<Option<Vec<Mapped>>> {
    let Some(at) = field.given() else {
        return field.is_absent().then_some(None);
    };
    if at.value.0.is_empty() {
        let problem = Diagnostic::error(format!("{who} has no columns")).at(at.place, "an empty table");
        validation
            .problems
            .push(problem.help("leave `columns` out, or write `columns = { sensor = \"/sensor/id\" }`"));
        return None;
    }
    let mapped = at.value.0.iter().map(|(column, at)| {
        let flaw = if column.is_empty() || column.contains('\0') {
            Some("no name of a column")
        } else if at.value.is_empty() {
            Some("no field")
        } else {
            None
        };
        if let Some(flaw) = flaw {
            let problem = Diagnostic::error(format!("{who} has a column without a field")).at(at.place, flaw);
            validation
                .problems
                .push(problem.help("a column has a field such as \"value\", or a JSON pointer such as \"/sensor/id\""));
            return None;
        }
        Some(Mapped {
            column: column.clone(),
            pointer: pointer(&at.value),
        })
    });
    let mapped: Vec<_> = mapped.collect();
    Some(Some(mapped.into_iter().collect::<Option<_>>()?))
}

/// A JSON pointer: one to the field of this name, or the text itself where it is a pointer.
fn pointer(text: &str) -> Pointer {
    let tokens = match text.strip_prefix('/') {
        None => vec![text.to_owned()],
        Some(path) => {
            let token = |token: &str| token.replace("~1", "/").replace("~0", "~");
            path.split('/').map(token).collect()
        }
    };
    Pointer {
        text: text.to_owned(),
        tokens,
    }
}

fn on_conflict(keys: &SinkKeys, who: &str, validation: &mut Validation<'_>) -> Option<OnConflict> {
    let word = keys.on_conflict.map(|Word(word)| *word).unwrap_or(ConflictWord::Fail);
    match (word, keys.conflict.given()) {
        (ConflictWord::Fail, None) => Some(OnConflict::Fail),
        (ConflictWord::Update, Some(list)) if !list.value.is_empty() => Some(OnConflict::Update(
            list.value.iter().map(|at| at.value.clone()).collect(),
        )),
        (ConflictWord::Update, _) => {
            let place = keys.on_conflict.key().unwrap_or(keys.place);
            let problem = Diagnostic::error(format!("{who} does not say by which columns a row is the same"));
            validation.problems.push(
                problem
                    .at(place, "it updates rows")
                    .help("write `conflict = [\"id\"]`, columns with a unique index"),
            );
            None
        }
        (ConflictWord::Fail, Some(list)) => {
            let problem = Diagnostic::error(format!("{who} has `conflict`, and updates no rows"));
            validation.problems.push(
                problem
                    .at(list.place, "without `on_conflict = \"update\"`")
                    .help("add `on_conflict = \"update\"`, or remove `conflict`"),
            );
            None
        }
    }
}

fn servers(keys: &SinkKeys, who: &str, validation: &mut Validation<'_>) -> Option<Servers> {
    let example = "postgres://127.0.0.1:5432";
    let addresses = servers::addresses(
        &keys.servers,
        example,
        keys.place,
        who,
        validation,
        self::connection::parse,
    );
    let mut text = |key: &str, example: &str, field: &Field<String>| {
        let at = field.required(key, example, keys.place, who, &mut validation.problems)?;
        if at.value.is_empty() || at.value.contains('\0') {
            let problem = Diagnostic::error(format!("{who} has no `{key}`")).at(at.place, "empty");
            validation
                .problems
                .push(problem.help(format!("it is such as {example}")));
            return None;
        }
        Some(at.value.clone())
    };
    let database = text("database", "\"plant\"", &keys.database);
    let user = text("user", "\"dirigo\"", &keys.user);
    if let Some(at) = keys.password.given().filter(|at| at.value.is_empty()) {
        let problem = Diagnostic::error(format!("{who} has an empty `password`")).at(at.place, "empty");
        validation
            .problems
            .push(problem.help("leave `password` out, or give it a value"));
        return None;
    }
    let is_tls = keys.tls.map(|tls| *tls).unwrap_or(true);
    let authorities = match keys.ca.given() {
        None => None,
        Some(at) if !is_tls => {
            let problem = Diagnostic::error(format!("{who} has a `ca` that verifies nothing"));
            let problem = problem.at(at.place, "with `tls = false` no certificate is verified");
            validation.problems.push(problem.help("remove one of the two"));
            return None;
        }
        Some(at) => Some(servers::authorities(at, who, validation)?),
    };
    Some(Servers {
        addresses: addresses?,
        database: database?,
        user: user?,
        password: keys.password.given().map(|at| Secret(at.value.clone())),
        is_tls,
        authorities,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_and_a_pointer_say_where_a_value_is() {
        assert_eq!(pointer("value").tokens, ["value"]);
        assert_eq!(pointer("/a~1b/~0/0").tokens, ["a/b", "~", "0"]);
    }
}
