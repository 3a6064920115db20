//! One call of an exported function, with its results staged.

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};

use crate::guest::Guest;
use crate::staging::{self, Staged};

/// Calls a function that is handed so many items. Gives what it returned, and its large lists.
pub(crate) async fn call<Params, Return>(
    store: &mut Store<Guest>,
    function: &TypedFunc<Params, (Return,)>,
    params: Params,
    items: usize,
) -> wasmtime::Result<(Return, Staged)>
where
    Params: ComponentNamedList + Lower + Send + Sync,
    Return: Lift + Send + Sync + 'static,
{
    let ((returned,), buffer) = staging::of(items, function.call_async(&mut *store, params)).await?;
    let staged = match buffer {
        None => Staged::NOTHING,
        Some(buffer) => {
            // The call has lasted for as long as it took to fill the buffer.
            let mut service = store.data().service();
            service.give_way().await;
            Staged::new(buffer, service)
        }
    };
    Ok((returned, staged))
}
