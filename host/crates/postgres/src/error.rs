//! Why rows cannot be written.

use dirigo_connectors::servers::{self, ServerRefusal};
use tokio_postgres::error::SqlState;

/// Why an attempt ends: until the next one, or with an error that ends the pipeline.
#[derive(Debug)]
pub(crate) enum Stop {
    /// To be tried again after a pause.
    Retry(String),
    /// The server rejects a value in the rows.
    Rows(String),
    Failed(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// Why rows cannot be written, until a person changes something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Problem {
    #[error(transparent)]
    Refusal(#[from] ServerRefusal),
    #[error("{server} does not encrypt: have it use TLS, or say `tls = false` where nobody can read what is sent")]
    Unencrypted { server: String },
    #[error("{server} has no table {table} that user `{user}` can see: create it, or correct `table`")]
    NoTable {
        server: String,
        table: String,
        user: String,
    },
    #[error("table {table} at {server} has no column `{column}`: add it, or correct `{key}`; it has {has}")]
    NoColumn {
        server: String,
        table: String,
        column: String,
        key: &'static str,
        has: String,
    },
    #[error("column `{column}` of table {table} at {server} is always generated: leave it out of `columns`")]
    Generated {
        server: String,
        table: String,
        column: String,
    },
    #[error(
        "column `{column}` of table {table} at {server} must have a value, has no default, and is not in `columns`: add it there"
    )]
    Unfilled {
        server: String,
        table: String,
        column: String,
    },
    #[error("table {table} at {server} has no columns that are to be written: name them in `columns`")]
    NoColumns { server: String, table: String },
    #[error("{server} does not take rows of table {table}: {reason}")]
    Statement {
        server: String,
        table: String,
        reason: String,
    },
    #[error(
        "{server} does not let user `{user}` use the table of watermarks: {reason}; have its owner run: {create}; GRANT SELECT, INSERT, UPDATE ON {watermarks} TO {user}"
    )]
    Watermarks {
        server: String,
        user: String,
        reason: String,
        create: String,
        watermarks: String,
    },
    #[error("event {number} of the sink cannot be a row of table {table} at {server}: {reason}")]
    Row {
        server: String,
        table: String,
        number: u64,
        reason: String,
    },
    #[error(
        "{server} has the batches of sink `{sink}` up to {found} in {watermarks}, and batch {next} comes next: the database was restored, or the row was deleted"
    )]
    Shortened {
        server: String,
        sink: String,
        watermarks: String,
        found: String,
        next: u64,
    },
    #[error(transparent)]
    Tls(#[from] dirigo_connectors::tls::Error),
}

/// Whether an attempt that failed with an error of the server or of the connection can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same may succeed later.
    Passing,
    /// The server rejects a value in the rows.
    Rows,
    /// The same fails again.
    Lasting,
}

/// Whether a new attempt can succeed after this error.
pub(crate) fn kind(error: &tokio_postgres::Error) -> Kind {
    let Some(code) = error.code() else {
        return Kind::Passing;
    };
    match code {
        // A standby that is about to take over, a row that another session has locked.
        &SqlState::READ_ONLY_SQL_TRANSACTION | &SqlState::LOCK_NOT_AVAILABLE => Kind::Passing,
        code => of_class(code.code()),
    }
}

fn of_class(code: &str) -> Kind {
    match code.get(..2) {
        // Data exceptions, violated constraints, checks of a view, limits that a row exceeds, and what triggers raise.
        Some("22" | "23" | "44" | "54" | "P0") => Kind::Rows,
        // Connections, transactions that were rolled back, resources, interventions, the system, and whatever is internal.
        Some("08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX") => Kind::Passing,
        _ => Kind::Lasting,
    }
}

/// An error as people read it: what the server says, with its details.
pub(crate) fn described(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let mut text = said.message().to_owned();
        for more in [said.detail(), said.hint()].into_iter().flatten() {
            text = format!("{text} ({more})");
        }
        return text;
    }
    servers::described(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_lasts_and_from_what_is_in_the_rows() {
        for (code, kind) in [
            ("22P02", Kind::Rows),
            ("23505", Kind::Rows),
            ("P0001", Kind::Rows),
            ("40001", Kind::Passing),
            ("53100", Kind::Passing),
            ("57P03", Kind::Passing),
            ("42P01", Kind::Lasting),
            ("28P01", Kind::Lasting),
            ("3D000", Kind::Lasting),
        ] {
            assert_eq!(of_class(code), kind, "{code}");
        }
    }
}
