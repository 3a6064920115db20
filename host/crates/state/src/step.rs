//! What a process by event time is handed of a key, step by step, and the bytes of a step.

/// What an operator that goes by event time is handed of a key: an event that waited, or an advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// An event.
    Event(WaitingEvent<'a>),
    /// Timers fire up to this time, ms since the epoch; all of them at the end of the input, which is [`AFTER_ALL`](dirigo_ground::lineage::AFTER_ALL).
    Advance {
        /// That time.
        until: i64,
    },
}

/// An event that waited, but for its time and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingEvent<'a> {
    /// By which input of the operator it came.
    pub input: u16,
    /// The name of the line that it came from.
    pub source: &'a str,
    /// Its position there.
    pub position: u64,
    /// Which of the ways from there it took.
    pub path: u32,
    /// Which one it is of those that were made of the same event, where they are told apart.
    pub twin: u32,
    /// Its value.
    pub value: &'a [u8],
}

const EVENT: u8 = 0;
const ADVANCE: u8 = 1;

impl<'a> Step<'a> {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Advance { until } => {
                bytes.push(ADVANCE);
                bytes.extend_from_slice(&until.to_le_bytes());
            }
            Self::Event(event) => {
                bytes.reserve(1 + 2 + 2 + event.source.len() + 8 + 4 + 4 + event.value.len());
                bytes.push(EVENT);
                bytes.extend_from_slice(&event.input.to_le_bytes());
                let name = u16::try_from(event.source.len()).expect("names are short");
                bytes.extend_from_slice(&name.to_le_bytes());
                bytes.extend_from_slice(event.source.as_bytes());
                bytes.extend_from_slice(&event.position.to_le_bytes());
                bytes.extend_from_slice(&event.path.to_le_bytes());
                bytes.extend_from_slice(&event.twin.to_le_bytes());
                bytes.extend_from_slice(event.value);
            }
        }
        bytes
    }

    /// The step in `bytes`, or `None` where they are none.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&ADVANCE, rest) => Some(Self::Advance {
                until: i64::from_le_bytes(rest.try_into().ok()?),
            }),
            (&EVENT, rest) => {
                let (input, rest) = rest.split_first_chunk()?;
                let (name, rest) = rest.split_first_chunk()?;
                let (source, rest) = rest.split_at_checked(u16::from_le_bytes(*name).into())?;
                let (position, rest) = rest.split_first_chunk()?;
                let (path, rest) = rest.split_first_chunk()?;
                let (twin, value) = rest.split_first_chunk()?;
                Some(Self::Event(WaitingEvent {
                    input: u16::from_le_bytes(*input),
                    source: str::from_utf8(source).ok()?,
                    position: u64::from_le_bytes(*position),
                    path: u32::from_le_bytes(*path),
                    twin: u32::from_le_bytes(*twin),
                    value,
                }))
            }
            _ => None,
        }
    }

    /// Where an event stands among those of its time.
    pub(super) fn order(self) -> Option<(u16, &'a str, u64, u32, u32)> {
        match self {
            Self::Event(event) => Some((event.input, event.source, event.position, event.path, event.twin)),
            Self::Advance { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_decoded_as_it_was_encoded() {
        let event = WaitingEvent {
            input: 1,
            source: "in",
            position: 7,
            path: 3,
            twin: 2,
            value: b"value",
        };
        for step in [Step::Event(event), Step::Advance { until: -3 }] {
            assert_eq!(Step::decode(&step.encode()), Some(step));
        }
        assert_eq!(Step::decode(b""), None);
        assert_eq!(Step::decode(&[9, 9]), None);
    }
}
