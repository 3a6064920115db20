//! The sink that adds rows to a table.
//!
//! Events wait in an outbox until their epoch is committed. Each batch is then one transaction: its rows, and the watermark of the sink, the number
//! of the last batch that the table has. A batch that is sent again is recognised by that number. Owns the transaction, and how a batch is handled that the server rejects.

use std::path::Path;

use dirigo_connect::sink::{DeliveryCapability, Error, Opening, Sink, SinkSpec};
use dirigo_connect::{Facets, facets};
use dirigo_connectors::outbox::{BACKLOG_BYTES, Batch, Deliver, Options, Outbox, Undelivered};
use dirigo_disk::Disk;
use serde_json::json;
use tokio_rustls::TlsConnector;

use crate::connection::{ANSWER_MAX, Connected, Servers};
use crate::error::{Kind, Problem, Stop, described, kind};
use crate::row::{self, Mapped};
use crate::table::{Statement, Wanted};

/// The largest batch, in events and in bytes.
const BATCH: Options = Options {
    batch_records: 8_192,
    batch_bytes: 4 << 20,
    retry_for: None,
    backlog_bytes: BACKLOG_BYTES,
    // The receiver reports which batches it has.
    delivery_capability: DeliveryCapability::Transactional,
};

/// A table that is written.
#[derive(Clone, Debug)]
pub(crate) struct PostgresSpec {
    pub(crate) servers: Servers,
    pub(crate) wanted: Wanted,
    /// Where the values of columns are, if the pipeline file says so.
    pub(crate) columns: Option<Vec<Mapped>>,
}

impl SinkSpec for PostgresSpec {
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        let writer = Writer {
            tls: self.servers.tls().map_err(Error::fatal)?,
            pipeline: format!("{}/{}", opening.tenant, opening.pipeline),
            sink: opening.id.to_owned(),
            spec: self.clone(),
            table: None,
            was_connected: false,
        };
        Ok(Box::new(Outbox::open(opening, BATCH, writer)?))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        DeliveryCapability::Transactional
    }

    /// Servers may change, as databases move; the watermark moves with the table.
    fn facets(&self, _: &Path) -> Option<Facets> {
        Some(facets([
            ("kind", json!("postgres")),
            ("table", json!(self.wanted.name.quoted())),
        ]))
    }
}

/// Writes batches.
struct Writer {
    spec: PostgresSpec,
    tls: Option<TlsConnector>,
    /// The pipeline, the sink and the lineage whose watermark it is.
    pipeline: String,
    sink: String,
    table: Option<Table>,
    was_connected: bool,
}

/// A table at the end of a connection.
struct Table {
    connected: Connected,
    statement: Statement,
    deliver: tokio_postgres::Statement,
    /// The lineage of the outbox whose watermark is known to exist.
    lineage: Option<String>,
}

impl Deliver for Writer {
    async fn prepare(&mut self) -> Result<(), Undelivered> {
        let connected = tokio::time::timeout(ANSWER_MAX, self.connect()).await;
        self.outcome(connected)
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered> {
        let array = row::array(batch.records(), self.spec.columns.as_deref());
        let written = tokio::time::timeout(ANSWER_MAX, self.write(batch, &array)).await;
        let written = match written {
            Ok(Err(Stop::Rows(reason))) => Ok(Err(self.refused_row(batch, reason).await)),
            written => written,
        };
        self.outcome(written)
    }
}

impl Writer {
    fn outcome(&mut self, ended: Result<Result<(), Stop>, tokio::time::error::Elapsed>) -> Result<(), Undelivered> {
        let stop = match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(stop)) => stop,
            Err(_) => Stop::Retry(format!("the server has not answered for {} s", ANSWER_MAX.as_secs())),
        };
        self.table = None;
        Err(match stop {
            Stop::Retry(reason) | Stop::Rows(reason) => Undelivered::Later { reason, after: None },
            // Logins and certificates may be put right at the server while the pipeline runs.
            Stop::Failed(problem @ Problem::Refusal(_)) if self.was_connected => Undelivered::Later {
                reason: problem.to_string(),
                after: None,
            },
            Stop::Failed(problem) => Undelivered::Never {
                reason: problem.to_string(),
            },
        })
    }

    /// Makes sure of a connection, a table that takes rows, and a table of watermarks.
    async fn connect(&mut self) -> Result<(), Stop> {
        if self
            .table
            .as_ref()
            .is_some_and(|table| !table.connected.client.is_closed())
        {
            return Ok(());
        }
        self.table = None;
        let (servers, wanted) = (&self.spec.servers, &self.spec.wanted);
        let connected = servers.connect(self.tls.as_ref()).await?;
        let (client, server) = (&connected.client, &*connected.server);
        let statement = wanted.statement(client, server, &servers.user).await?;
        let failed = |error: tokio_postgres::Error| match kind(&error) {
            Kind::Passing | Kind::Rows => Stop::Retry(described(&error)),
            Kind::Lasting => Problem::Watermarks {
                server: server.to_owned(),
                user: servers.user.clone(),
                reason: described(&error),
                create: wanted.create_watermarks(),
                watermarks: wanted.watermarks(),
            }
            .into(),
        };
        let there = client
            .query_one(&wanted.look_for_watermarks(), &[])
            .await
            .map_err(failed)?;
        if !there.get::<_, bool>(0) {
            client
                .batch_execute(&wanted.create_watermarks())
                .await
                .map_err(failed)?;
        }
        let deliver = client.prepare(&statement.deliver).await.map_err(failed)?;
        tracing::info!(sink = self.sink, "is connected to {server}");
        self.was_connected = true;
        self.table = Some(Table {
            connected,
            statement,
            deliver,
            lineage: None,
        });
        Ok(())
    }

    async fn write(&mut self, batch: &Batch, array: &str) -> Result<(), Stop> {
        self.connect().await?;
        self.expect_watermark(batch).await?;
        let table = self.table.as_ref().expect("it was connected");
        let (lineage, number) = (lineage(batch), number(batch));
        let written = table
            .connected
            .client
            .execute(&table.deliver, &[&array, &self.pipeline, &self.sink, &lineage, &number])
            .await
            .map_err(|error| self.spec.wanted.failed(&table.connected.server, &error))?;
        if written == 0 {
            // The table has the batch already, a trigger has put the rows elsewhere, or the watermark is another.
            return self.expect_reached(batch).await;
        }
        Ok(())
    }

    /// Makes sure that the sink has a watermark, once for each connection.
    async fn expect_watermark(&mut self, batch: &Batch) -> Result<(), Stop> {
        let lineage = lineage(batch);
        let table = self.table.as_mut().expect("it was connected");
        if table.lineage.as_deref() == Some(lineage) {
            return Ok(());
        }
        if batch.number() == 1 {
            let insert = format!(
                "INSERT INTO {} VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING",
                self.spec.wanted.watermarks()
            );
            let inserted = table
                .connected
                .client
                .execute(&insert, &[&self.pipeline, &self.sink, &lineage])
                .await;
            inserted.map_err(|error| self.spec.wanted.failed(&table.connected.server, &error))?;
        }
        table.lineage = Some(lineage.to_owned());
        Ok(())
    }

    /// Makes sure that the watermark is at a batch.
    async fn expect_reached(&self, batch: &Batch) -> Result<(), Stop> {
        let table = self.table.as_ref().expect("it was connected");
        let (lineage, number) = (lineage(batch), number(batch));
        let watermarks = self.spec.wanted.watermarks();
        let look = format!("SELECT batch FROM {watermarks} WHERE pipeline = $1 AND sink = $2 AND lineage = $3");
        let found = table
            .connected
            .client
            .query_opt(&look, &[&self.pipeline, &self.sink, &lineage])
            .await
            .map_err(|error| self.spec.wanted.failed(&table.connected.server, &error))?;
        let found: Option<i64> = found.map(|row| row.get(0));
        match found {
            Some(found) if found >= number => Ok(()),
            // Another attempt, on a connection that was lost, has rolled the watermark back after this one read it.
            Some(found) if found == number - 1 => Err(Stop::Retry("another session writes the same batch".to_owned())),
            found => Err(Problem::Shortened {
                server: table.connected.server.clone(),
                sink: self.sink.clone(),
                watermarks,
                found: found.map_or("none".to_owned(), |found| found.to_string()),
                next: batch.number(),
            }
            .into()),
        }
    }

    /// Finds the event that the server rejects. Changes nothing.
    async fn refused_row(&self, batch: &Batch, reason: String) -> Stop {
        let found = tokio::time::timeout(ANSWER_MAX, self.first_refused(batch)).await;
        let (place, reason) = match found {
            Ok(Ok(Some(found))) => found,
            // The server has taken each event alone, or could not be asked: the whole batch is tried again.
            Ok(Ok(None)) | Err(_) => return Stop::Retry(reason),
            Ok(Err(stop)) => return stop,
        };
        let table = self.table.as_ref().expect("it was connected");
        Problem::Row {
            server: table.connected.server.clone(),
            table: self.spec.wanted.name.quoted(),
            number: batch.records_before() + place as u64 + 1,
            reason,
        }
        .into()
    }

    /// The place of the first event in a batch with which the server refuses it, and why: by halves, in transactions that are rolled back.
    async fn first_refused(&self, batch: &Batch) -> Result<Option<(usize, String)>, Stop> {
        let table = self.table.as_ref().expect("it was connected");
        let client = &table.connected.client;
        let insert = client
            .prepare(&table.statement.insert)
            .await
            .map_err(|error| self.spec.wanted.failed(&table.connected.server, &error))?;
        let failed = |error: &tokio_postgres::Error| self.spec.wanted.failed(&table.connected.server, error);
        // The server takes the first `taken` events, and not the first `refused`.
        let (mut taken, mut refused, mut reason) = (0_usize, batch.len(), None);
        loop {
            let tried = if reason.is_none() {
                refused
            } else {
                taken.midpoint(refused)
            };
            let array = row::array(batch.records().take(tried), self.spec.columns.as_deref());
            let begun = client.batch_execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE").await;
            begun.map_err(|error| failed(&error))?;
            let outcome = client.execute(&insert, &[&array]).await;
            let ended = client.batch_execute("ROLLBACK").await;
            ended.map_err(|error| failed(&error))?;
            match outcome.map_err(|error| failed(&error)) {
                Ok(_) if tried == batch.len() => return Ok(None),
                Ok(_) => taken = tried,
                Err(Stop::Rows(why)) => (refused, reason) = (tried, Some(why)),
                Err(stop) => return Err(stop),
            }
            if taken + 1 == refused
                && let Some(reason) = reason
            {
                return Ok(Some((taken, reason)));
            }
        }
    }
}

/// The lineage of the outbox of a batch, as a text.
fn lineage(batch: &Batch) -> &str {
    let mut parts = batch.key().rsplit('/');
    parts.nth(1).unwrap_or_else(|| batch.key())
}

fn number(batch: &Batch) -> i64 {
    i64::try_from(batch.number()).expect("there are fewer batches than that")
}
