//! Fields that a process writes to an output with a name.

use dirigo_operator::{prelude::*, testing::ProcessTester};
use serde_json::json;

/// How warm it is, as a share of what is too much.
#[derive(Event)]
struct Share {
    share: f64,
}

const SHARES: NamedOutput<Share> = NamedOutput::new("shares");

/// Puts shares of a limit out under a name.
struct Shares;

#[operator]
impl Process for Shares {
    const OUTPUTS: &'static [&'static dyn DeclaredOutput] = &[&SHARES];
    type Config = NoConfig;
    type Event = f64;
    type State = f64;
    type Output = f64;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Shares)
    }

    fn event(&mut self, limit: &f64, key: &mut Context<'_, Self>) -> Result<()> {
        *key.state() = *limit;
        key.push_to(SHARES, &Share { share: 10.0 / limit })
    }
}

#[test]
fn an_output_with_a_name_writes_fields_and_one_that_cannot_be_written_rejects_its_event() {
    let mut shares = ProcessTester::<Shares>::open(&json!({})).unwrap();
    let outcome = shares.events([json!(40.0), json!(0.0)]);
    assert!(outcome.outputs.is_empty());
    assert!(outcome.rejection(1).unwrap().contains("inf"), "{outcome:?}");
    assert_eq!(shares.take(SHARES).json(), [json!({"share": 0.25})]);
    assert_eq!(
        shares.state(""),
        Some(40.0),
        "the rejected event leaves the state as it was"
    );
}
