//! What components may import, and what stands behind it.

use wasmtime::StoreContextMut;
use wasmtime::component::{Component, Linker};

use crate::contract::{Violation, interface};
use crate::guest::{Guest, LastWords};
use crate::voice::Level;
use crate::{wasi, way};

/// The names of what `component` imports.
///
/// # Errors
/// When it imports what is not granted.
pub(crate) fn check(component: &Component) -> Result<Vec<String>, Violation> {
    let imports = component.component_type();
    let imports: Vec<String> = imports
        .imports(component.engine())
        .map(|(name, _)| name.to_owned())
        .collect();
    let denied: Vec<String> = imports.iter().filter(|name| !is_granted(name)).cloned().collect();
    if denied.is_empty() {
        Ok(imports)
    } else {
        Err(Violation::Imports { names: denied })
    }
}

fn is_granted(import: &str) -> bool {
    let name = import.split_once('@').map_or(import, |(name, _)| name);
    import == interface("host") || import == interface("types") || wasi::GRANTED.contains(&name)
}

/// All that is granted.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::<Guest>::new(engine);
    wasi::link(&mut linker)?;
    let mut host = linker.instance(&interface("host"))?;
    host.func_wrap_async("log", |store, (level, message): (Level, String)| {
        store.data().voice.log(level, &message);
        serve(store, message.len())
    })?;
    host.func_wrap_async("metric", |store, (name, value): (String, f64)| {
        store.data().voice.count(&name, value);
        serve(store, name.len())
    })?;
    host.func_wrap_async("panicked", |mut store, (message, event): (String, Option<u32>)| {
        let bytes = message.len();
        store.data_mut().last_words = Some(LastWords { message, event });
        serve(store, bytes)
    })?;
    Ok(linker)
}

/// The end of a call of the host, at which the guest may have to let others run.
fn serve(mut store: StoreContextMut<'_, Guest>, bytes: usize) -> Box<dyn Future<Output = wasmtime::Result<()>> + Send> {
    let must_yield = store.data_mut().serve(bytes);
    Box::new(async move {
        if must_yield {
            way::give().await;
        }
        Ok(())
    })
}
