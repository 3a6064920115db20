//! Look-ups of single keys, many at a time: each layer is opened once for all of them.

use super::durable::TableReader;
use super::entry::Entry;
use super::error::Error;
use super::keys;
use super::table::Table;

/// Keys that are looked for, layer by layer, and where their entries go.
pub(super) struct Search<'a> {
    /// Full keys that no layer had yet.
    sought: Vec<Box<[u8]>>,
    prefix: usize,
    table: &'a mut Table,
}

impl<'a> Search<'a> {
    pub(super) fn of(operator: &str, wanted: &[&[u8]], table: &'a mut Table) -> Self {
        Self {
            sought: wanted.iter().map(|key| keys::full(operator, key)).collect(),
            prefix: keys::prefix_bytes(operator),
            table,
        }
    }

    /// Looks for them in a layer that lies in memory.
    pub(super) fn in_memory<'l>(&mut self, get: impl Fn(&[u8]) -> Option<&'l [u8]>) -> Result<(), Error> {
        self.look(|key, take| get(key).map(take).transpose())
    }

    /// Looks for them in a database, which is only opened if there is something to look for.
    pub(super) fn in_database(
        &mut self,
        open: impl FnOnce() -> Result<Option<TableReader>, redb::Error>,
    ) -> Result<(), Error> {
        if self.sought.is_empty() {
            return Ok(());
        }
        let Some(reader) = open()? else { return Ok(()) };
        self.look(|key, take| reader.get(key)?.as_deref().map(take).transpose())
    }

    fn look(
        &mut self,
        get: impl Fn(&[u8], &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<Option<()>, Error>,
    ) -> Result<(), Error> {
        let (table, prefix) = (&mut *self.table, self.prefix);
        let mut failed = Ok(());
        self.sought.retain(|key| {
            let mut take = |bytes: &[u8]| restore(table, &key[prefix..], bytes);
            let found = if failed.is_ok() { get(key, &mut take) } else { Ok(None) };
            match found {
                Ok(found) => found.is_none(),
                Err(error) => {
                    failed = Err(error);
                    true
                }
            }
        });
        failed
    }
}

/// Puts back what a layer has of a key; of one that is forgotten there is nothing.
fn restore(table: &mut Table, key: &[u8], bytes: &[u8]) -> Result<(), Error> {
    if !bytes.is_empty() {
        let entry = Entry::decode(bytes).ok_or(Error::Unreadable { what: "state" })?;
        table.restore(key, entry);
    }
    Ok(())
}
