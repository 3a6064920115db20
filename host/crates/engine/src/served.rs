//! Functions of the host that guests call.
//!
//! Each call is accounted for by how long it takes, and lets others run when the guest has been served for long enough. Fuel does
//! not tell: a call burns 20 units and lasts as long as thousands. What a call is handed is read where it lies, and only as far as
//! the host uses it.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, LinkerInstance, Lower};

use crate::cooperative;
use crate::guest::Guest;

/// Defines function `name`. `serve` returns the result and how many bytes it processed.
pub(crate) fn define<Params, Return, Serve>(
    interface: &mut LinkerInstance<'_, Guest>,
    name: &str,
    serve: Serve,
) -> wasmtime::Result<()>
where
    Params: ComponentNamedList + Lift + 'static,
    Return: ComponentNamedList + Lower + Send + Sync + 'static,
    Serve: Fn(&mut StoreContextMut<'_, Guest>, Params) -> wasmtime::Result<(Return, usize)> + Send + Sync + 'static,
{
    interface.func_wrap_async(name, move |mut store: StoreContextMut<'_, Guest>, params| {
        let served = serve(&mut store, params);
        let bytes = served.as_ref().map_or(0, |(_, bytes)| *bytes);
        let must_yield = store.data_mut().serve(bytes);
        Box::new(async move {
            if must_yield {
                cooperative::yield_now().await;
            }
            served.map(|(result, _)| result)
        })
    })
}

/// Defines a function whose work is done piece by piece: `begin` reads what it is handed, and `step` does a piece of the work and
/// gives how many bytes it went through, until it gives `None`.
pub(crate) fn define_in_pieces<Params, Return, Work, Begin, Step>(
    interface: &mut LinkerInstance<'_, Guest>,
    name: &str,
    begin: Begin,
    step: Step,
) -> wasmtime::Result<()>
where
    Params: ComponentNamedList + Lift + 'static,
    Return: ComponentNamedList + Lower + Send + Sync + 'static,
    Work: Send + 'static,
    Begin:
        Fn(&mut StoreContextMut<'_, Guest>, Params) -> wasmtime::Result<(Return, Option<Work>)> + Send + Sync + 'static,
    Step: Fn(&mut Guest, &mut Work) -> Option<usize> + Send + Sync + 'static,
{
    let step = Arc::new(step);
    interface.func_wrap_async(name, move |mut store: StoreContextMut<'_, Guest>, params| {
        let started = begin(&mut store, params);
        let step = step.clone();
        Box::new(async move {
            let (result, mut work) = started?;
            if store.data_mut().serve(0) {
                cooperative::yield_now().await;
            }
            while let Some(bytes) = work.as_mut().and_then(|work| step(store.data_mut(), work)) {
                if store.data_mut().serve(bytes) {
                    cooperative::yield_now().await;
                }
            }
            Ok(result)
        })
    })
}
