//! One call of an exported function.

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};

use crate::guest::Guest;
use crate::staging::{self, Staged, Unstaging};

/// Calls a function that is handed so many items.
pub(crate) async fn call<Params, Return>(
    store: &mut Store<Guest>,
    function: &TypedFunc<Params, (Return,)>,
    params: Params,
    items: usize,
) -> wasmtime::Result<Return>
where
    Params: ComponentNamedList + Lower + Send + Sync,
    Return: Lift + Staged + Send + Sync + 'static,
{
    let ((mut returned,), buffer) = staging::of(items, function.call_async(&mut *store, params)).await?;
    if let Some(buffer) = buffer {
        let mut yielder = store.data().yielder();
        // Apart from the turn, which is smaller without it, and rarely returns so much.
        Box::pin(async {
            // The call has lasted for as long as it took to fill the buffer.
            yielder.yield_now().await;
            returned.unstage(&mut Unstaging::new(buffer, yielder)).await;
        })
        .await;
    }
    Ok(returned)
}
