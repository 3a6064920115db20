//! How many instances a component comes to.
//!
//! A component may instantiate another twice, which does the same: a few kB then stand for more instances than the compiler
//! can hold. Each is counted as often as it is made, before anything is.

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentAliasSectionReader, ComponentExportSectionReader, ComponentExternalKind,
    ComponentImportSectionReader, ComponentInstance, ComponentInstanceSectionReader, ComponentOuterAliasKind,
    ComponentTypeRef, Instance, InstanceSectionReader,
};

use super::{COMPONENT, Refused, check_depth, sections, within};

/// The most instances, those of components within components included: a component that tools composed of several has a few
/// dozen.
const INSTANCES_MAX: usize = 1_000;

/// The sections of a component that matter here, next to the components inside of it.
mod section {
    pub(super) const CORE_INSTANCE: u8 = 2;
    pub(super) const INSTANCE: u8 = 5;
    pub(super) const ALIAS: u8 = 6;
    pub(super) const IMPORT: u8 = 10;
    pub(super) const EXPORT: u8 = 11;
}

/// Refuses a component that comes to too many instances.
pub(super) fn check(component: &[u8]) -> Result<(), Refused> {
    count(component, &mut Vec::new()).map(|_| ())
}

/// How many instances come of instantiating a component once. `around` are the components around it: of each, how many
/// instances come of the components that it can name so far, by their index.
fn count(component: &[u8], around: &mut Vec<Vec<usize>>) -> Result<usize, Refused> {
    check_depth(u32::try_from(around.len()).unwrap_or(u32::MAX))?;
    around.push(Vec::new());
    let mut total = 0_usize;
    for (kind, contents) in sections(component)? {
        let reader = BinaryReader::new(contents, 0);
        match kind {
            COMPONENT => {
                let inner = count(contents, around)?;
                own(around).push(inner);
            }
            section::CORE_INSTANCE => {
                for instance in InstanceSectionReader::new(reader)? {
                    total += usize::from(matches!(instance?, Instance::Instantiate { .. }));
                }
            }
            section::INSTANCE => {
                for instance in ComponentInstanceSectionReader::new(reader)? {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        total = total.saturating_add(1 + named(own(around), component_index));
                    }
                }
            }
            section::ALIAS => {
                for alias in ComponentAliasSectionReader::new(reader)? {
                    if let Some(inner) = aliased(&alias?, around) {
                        own(around).push(inner);
                    }
                }
            }
            section::IMPORT => {
                for import in ComponentImportSectionReader::new(reader)? {
                    if matches!(import?.ty, ComponentTypeRef::Component(_)) {
                        // What is passed in was counted where it stands, or is a root's, which is refused.
                        own(around).push(0);
                    }
                }
            }
            section::EXPORT => {
                for export in ComponentExportSectionReader::new(reader)? {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        let inner = named(own(around), export.index);
                        own(around).push(inner);
                    }
                }
            }
            _ => {}
        }
        within([("comes to instances that number", total, INSTANCES_MAX)])?;
    }
    around.pop();
    Ok(total)
}

/// What the component that is being read can name.
fn own(around: &mut [Vec<usize>]) -> &mut Vec<usize> {
    around.last_mut().expect("a component that is being read is among them")
}

/// How many instances come of the component with this index. What has none is not valid, and found out later.
fn named(components: &[usize], index: u32) -> usize {
    components.get(index as usize).copied().unwrap_or(0)
}

/// How many instances come of a component that an alias names; `None` for one of something else.
fn aliased(alias: &ComponentAlias<'_>, around: &[Vec<usize>]) -> Option<usize> {
    match *alias {
        ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::Component,
            count,
            index,
        } => {
            let place = around.len().checked_sub(1 + count as usize);
            let scope = place.and_then(|place| around.get(place));
            Some(scope.map_or(0, |scope| named(scope, index)))
        }
        // Any of those that can be named may stand behind an export: the one that comes to most is assumed.
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Component,
            ..
        } => Some(around.iter().flatten().copied().max().unwrap_or(0)),
        _ => None,
    }
}
