//! A description with the options of a migration applied.

use super::super::in_flight::InFlightCounts;
use super::super::state_migration::MigrationOptions;
use super::{Description, Facets};

impl Description {
    /// The description, as if the pipeline had always been what the options say that it has become in `new`.
    ///
    /// # Errors
    /// When an option names nothing that there is.
    pub(crate) fn with_options(
        mut self,
        options: &MigrationOptions,
        new: &Self,
        waiting: &InFlightCounts,
    ) -> Result<Self, String> {
        for id in &options.dropped {
            let is_known = self.operators.remove(id).is_some()
                | self.sources.remove(id).is_some()
                | self.sinks.remove(id).is_some()
                | (!new.has(id) && (waiting.at.contains_key(id) || waiting.of.contains_key(id)));
            if !is_known {
                return Err(format!(
                    "`--drop {id}`: the state has no operator, source or sink of that name"
                ));
            }
            if new.sources.contains_key(id) || new.sinks.contains_key(id) {
                return Err(format!("`--drop {id}`: the pipeline still has it"));
            }
            if let Some(described) = new.operators.get(id) {
                // What is kept of it goes, and it begins with nothing.
                self.operators.insert(id.clone(), described.clone());
            }
        }
        for (old, now) in &options.renamed {
            self.rename(old, now, new, waiting)
                .map_err(|reason| format!("`--rename {old}={now}`: {reason}"))?;
        }
        for id in &options.restarted {
            if let (Some(own), Some(new)) = (self.sources.get_mut(id), new.sources.get(id)) {
                own.clone_from(new);
            }
        }
        for id in &options.accepted {
            let kind = |facets: &Facets| facets.get("kind").cloned();
            let positions = [(&mut self.sources, &new.sources), (&mut self.sinks, &new.sinks)];
            let mut is_known = false;
            for (own, new) in positions {
                if let (Some(own), Some(new)) = (own.get_mut(id), new.get(id)) {
                    is_known = true;
                    if kind(own) == kind(new) {
                        own.clone_from(new);
                    }
                }
            }
            if let (Some(own), Some(new)) = (self.operators.get_mut(id), new.operators.get(id)) {
                is_known = true;
                own.facets.clone_from(&new.facets);
                own.layouts.extend(new.layouts.clone());
            }
            if !is_known {
                return Err(format!(
                    "`--accept {id}`: `{id}` is not in both the state and the pipeline"
                ));
            }
        }
        Ok(self)
    }

    /// Gives an operator, source or sink its new name.
    fn rename(&mut self, old: &str, now: &str, new: &Self, waiting: &InFlightCounts) -> Result<(), String> {
        let has = |what: &str| Err(format!("the state has {what} `{now}` already"));
        let lacks = |what: &str| Err(format!("the pipeline has no {what} `{now}`"));
        if self.operators.contains_key(now) {
            return has("an operator");
        }
        if let Some(described) = self.operators.get(old).cloned() {
            if !new.operators.contains_key(now) {
                return lacks("operator that keeps state called");
            }
            self.operators.remove(old);
            self.operators.insert(now.to_owned(), described);
            return Ok(());
        }
        for (what, known, new) in [
            ("source", &mut self.sources, &new.sources),
            ("sink", &mut self.sinks, &new.sinks),
        ] {
            if let Some(facets) = known.get(old).cloned() {
                if known.contains_key(now) {
                    return has(&format!("a {what}"));
                }
                if !new.contains_key(now) {
                    return lacks(what);
                }
                known.remove(old);
                known.insert(now.to_owned(), facets);
                return Ok(());
            }
        }
        if !waiting.at.contains_key(old) {
            return Err(format!("nothing is kept of `{old}`"));
        }
        if !new.items.contains(now) {
            return lacks("operator or sink");
        }
        Ok(())
    }
}
