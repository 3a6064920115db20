//! Nexmark, query 3: people of three states.

use dirigo_operator::prelude::*;

/// What is read of a person.
#[derive(Debug, Event)]
pub struct Person {
    state: String,
}

/// Keeps people who live nearby.
#[derive(Debug)]
pub struct Nearby;

#[operator]
impl Filter for Nearby {
    type Config = NoConfig;
    type Event = Person;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Nearby)
    }

    fn keep(&mut self, person: &Person) -> Result<bool> {
        Ok(["or", "id", "ca"].contains(&&*person.state))
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn people_of_other_states_are_dropped() {
        let person = |state: &str| json!({"kind": "person", "id": 1, "state": state});
        let outcome = Tester::<Nearby>::open(&json!({}))
            .unwrap()
            .filter(["or", "az", "ca"].map(person));
        assert_eq!(outcome.json(), [person("or"), person("ca")]);
    }
}
