//! Packets of MQTT 5, as bytes.
//!
//! Owns those that a client sends and gets, as far as this one makes use of them: what else a packet may say is read over. The numbers are those of the
//! standard (<https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html>). Knows no connection.

use std::fmt;

/// What a broker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'p> {
    /// CONNACK.
    Answer(Answer),
    /// PUBLISH.
    Message(Message<'p>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Step { step: Step, id: u16, reason: Reason },
    /// SUBACK: what became of each filter.
    Subscribed { id: u16, reasons: Vec<Reason> },
    /// DISCONNECT.
    Disconnected(Reason),
    /// What needs no answer.
    Other,
}

/// What a broker says as a client connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) reason: Reason,
    /// Whether it knows the session.
    pub(crate) has_session: bool,
    /// How many messages it takes before the first of them is acknowledged.
    pub(crate) receive_max: u16,
    /// The highest `QoS` at which it takes messages.
    pub(crate) qos_max: u8,
    /// How large a packet may be that is sent to it.
    pub(crate) packet_max: Option<u32>,
    pub(crate) takes_retained: bool,
    /// How often it wants to hear something, in seconds, if that is not what the client said.
    pub(crate) keep_alive: Option<u16>,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'p> {
    pub(crate) topic: &'p str,
    pub(crate) payload: &'p [u8],
    pub(crate) qos: u8,
    /// 0 at `QoS` 0.
    pub(crate) id: u16,
    /// Whether it may have come before.
    pub(crate) is_repeated: bool,
    pub(crate) is_retained: bool,
}

/// A step of the delivery of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// PUBACK: a message of `QoS` 1 has come.
    Acknowledged = 4,
    /// PUBREC: a message of `QoS` 2 has come.
    Received = 5,
    /// PUBREL: its id is free once the other end says so.
    Released = 6,
    /// PUBCOMP: it is.
    Completed = 7,
}

/// A reason code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason(pub(crate) u8);

impl Reason {
    pub(crate) const SUCCESS: Self = Self(0);
    pub(crate) const UNSPECIFIED: Self = Self(0x80);
    pub(crate) const BAD_LOGIN: Self = Self(0x86);
    pub(crate) const NOT_AUTHORIZED: Self = Self(0x87);
    pub(crate) const UNKNOWN_ID: Self = Self(0x92);
    pub(crate) const TAKEN_OVER: Self = Self(0x8e);
    pub(crate) const PACKET_TOO_LARGE: Self = Self(0x95);

    pub(crate) fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    /// Whether the same may be answered otherwise later, without a person changing anything.
    pub(crate) fn is_passing(self) -> bool {
        // Unspecified, implementation specific, unavailable, busy, shutting down, keep alive, receive maximum, message rate, quota, administrative, use
        // another server, server moved, connection rate, maximum connect time.
        matches!(
            self.0,
            0x80 | 0x83 | 0x88 | 0x89 | 0x8b | 0x8d | 0x93 | 0x96 | 0x97 | 0x98 | 0x9c | 0x9d | 0x9f | 0xa0
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0x81 => "malformed packet",
            0x82 => "protocol error",
            0x83 => "a reason of its own",
            0x84 => "it does not speak MQTT 5",
            0x85 => "it does not take this client id",
            0x86 => "bad user name or password",
            0x87 => "not authorized",
            0x88 => "it is unavailable",
            0x89 => "it is busy",
            0x8a => "the client is banned",
            0x8b => "it is shutting down",
            0x8d => "it heard nothing for too long",
            0x8e => "another client has the same id",
            0x8f => "it does not take this filter of topics",
            0x90 => "it does not take this topic",
            0x93 => "too many messages that are not acknowledged",
            0x95 => "the packet is too large",
            0x96 => "messages come too fast",
            0x97 => "a quota is exceeded",
            0x98 => "an administrator closed the connection",
            0x99 => "the payload is not of the format that it wants",
            0x9a => "it keeps no retained messages",
            0x9b => "it does not take this QoS",
            0x9c | 0x9d => "it names another server",
            0x9e => "it has no shared subscriptions",
            0x9f => "connections come too fast",
            0xa2 => "it takes no wildcards",
            code => return write!(formatter, "reason {code:#04x}"),
        };
        formatter.write_str(text)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#04x} ({self})", self.0)
    }
}

/// A packet is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet that is none of MQTT 5: {0}")]
pub(crate) struct Malformed(&'static str);

const TOO_SHORT: Malformed = Malformed("it is too short");
/// A length of MQTT takes at most four bytes.
const LENGTH_BYTES_MAX: usize = 4;

/// How long the first packet of `bytes` is, once that can be told.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut length = 0;
    for (place, byte) in bytes.iter().skip(1).take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some(2 + place + length));
        }
    }
    if bytes.len() > LENGTH_BYTES_MAX {
        return Err(Malformed("its length does not end"));
    }
    Ok(None)
}

/// Reads a packet, all of which is there.
pub(crate) fn read(packet: &[u8]) -> Result<Incoming<'_>, Malformed> {
    let mut rest = Bytes(packet);
    let first = rest.byte()?;
    rest.varint()?;
    match first >> 4 {
        2 => Ok(Incoming::Answer(answer(rest)?)),
        3 => Ok(Incoming::Message(message(first, rest)?)),
        kind @ 4..=7 => {
            let step = match kind {
                4 => Step::Acknowledged,
                5 => Step::Received,
                6 => Step::Released,
                _ => Step::Completed,
            };
            let id = rest.number16()?;
            // A reason of success may be left out.
            let reason = rest.byte().map_or(Reason::SUCCESS, Reason);
            Ok(Incoming::Step { step, id, reason })
        }
        9 => {
            let id = rest.number16()?;
            rest.properties(|_, _| ())?;
            let reasons = rest.0.iter().copied().map(Reason).collect();
            Ok(Incoming::Subscribed { id, reasons })
        }
        14 => Ok(Incoming::Disconnected(rest.byte().map_or(Reason::SUCCESS, Reason))),
        11 | 13 => Ok(Incoming::Other),
        _ => Err(Malformed("no broker sends it")),
    }
}

fn answer(mut rest: Bytes<'_>) -> Result<Answer, Malformed> {
    let has_session = rest.byte()? & 1 == 1;
    let reason = Reason(rest.byte()?);
    let mut answer = Answer {
        reason,
        has_session,
        receive_max: u16::MAX,
        qos_max: 2,
        packet_max: None,
        takes_retained: true,
        keep_alive: None,
    };
    if rest.0.is_empty() && reason != Reason::SUCCESS {
        // What an older version of MQTT says.
        answer.reason = Reason(0x84);
        return Ok(answer);
    }
    rest.properties(|property, value| match (property, value) {
        (0x13, Property::Number(seconds)) => answer.keep_alive = u16::try_from(seconds).ok(),
        (0x21, Property::Number(count)) => answer.receive_max = u16::try_from(count).unwrap_or(u16::MAX).max(1),
        (0x24, Property::Number(qos)) => answer.qos_max = u8::try_from(qos).unwrap_or(2),
        (0x25, Property::Number(available)) => answer.takes_retained = available != 0,
        (0x27, Property::Number(bytes)) => answer.packet_max = Some(bytes),
        _ => {}
    })?;
    Ok(answer)
}

fn message(first: u8, mut rest: Bytes<'_>) -> Result<Message<'_>, Malformed> {
    let qos = (first >> 1) & 3;
    if qos > 2 {
        return Err(Malformed("there is no QoS 3"));
    }
    let topic = rest.text()?;
    let id = if qos == 0 { 0 } else { rest.number16()? };
    rest.properties(|_, _| ())?;
    Ok(Message {
        topic,
        payload: rest.0,
        qos,
        id,
        is_repeated: first & 8 != 0,
        is_retained: first & 1 != 0,
    })
}

/// What a property says.
enum Property {
    Number(u32),
    /// A text, bytes or a pair of texts: nothing that this client reads.
    Skipped,
}

/// What is left of a packet.
#[derive(Clone, Copy)]
struct Bytes<'p>(&'p [u8]);

impl<'p> Bytes<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn number32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from(self.number16()?) << 16 | u32::from(self.number16()?))
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut number = 0;
        for place in 0..LENGTH_BYTES_MAX {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed("a length does not end"))
    }

    fn text(&mut self) -> Result<&'p str, Malformed> {
        let length = self.number16()?;
        std::str::from_utf8(self.take(length.into())?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    fn skip_bytes(&mut self) -> Result<(), Malformed> {
        let length = self.number16()?;
        self.take(length.into()).map(|_| ())
    }

    fn properties(&mut self, mut each: impl FnMut(u8, Property)) -> Result<(), Malformed> {
        let length = self.varint()?;
        let mut rest = Bytes(self.take(length as usize)?);
        while !rest.0.is_empty() {
            let property = rest.byte()?;
            let value = match property {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Property::Number(rest.byte()?.into()),
                0x13 | 0x21 | 0x22 | 0x23 => Property::Number(rest.number16()?.into()),
                0x02 | 0x11 | 0x18 | 0x27 => Property::Number(rest.number32()?),
                0x0b => Property::Number(rest.varint()?),
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                    rest.skip_bytes()?;
                    Property::Skipped
                }
                0x26 => {
                    rest.skip_bytes()?;
                    rest.skip_bytes()?;
                    Property::Skipped
                }
                _ => return Err(Malformed("a property that there is not")),
            };
            each(property, value);
        }
        Ok(())
    }
}

/// Who connects, and with which session.
#[derive(Clone, Debug)]
pub(crate) struct Connect<'c> {
    pub(crate) client_id: &'c str,
    pub(crate) login: Option<(&'c str, &'c str)>,
    /// Whether what the broker knows of an earlier session is forgotten.
    pub(crate) is_clean: bool,
    /// For how many seconds the broker keeps the session without a connection.
    pub(crate) session_seconds: u32,
    pub(crate) keep_alive: u16,
    /// How many messages the broker may send before the first is acknowledged.
    pub(crate) receive_max: u16,
}

/// Appends a CONNECT.
pub(crate) fn connect(connect: &Connect<'_>, output: &mut Vec<u8>) {
    let mut body = Vec::new();
    push_text("MQTT", &mut body);
    body.push(5);
    let clean = u8::from(connect.is_clean) << 1;
    body.push(clean | if connect.login.is_some() { 0xc0 } else { 0 });
    body.extend_from_slice(&connect.keep_alive.to_be_bytes());
    // The properties: how long the session lasts, and what may be on its way.
    body.push(8);
    body.push(0x11);
    body.extend_from_slice(&connect.session_seconds.to_be_bytes());
    body.push(0x21);
    body.extend_from_slice(&connect.receive_max.to_be_bytes());
    push_text(connect.client_id, &mut body);
    if let Some((user, password)) = connect.login {
        push_text(user, &mut body);
        push_text(password, &mut body);
    }
    push_packet(0x10, &body, output);
}

/// Appends a SUBSCRIBE. Retained messages come where a subscription is new.
pub(crate) fn subscribe<'f>(id: u16, qos: u8, filters: impl Iterator<Item = &'f str>, output: &mut Vec<u8>) {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    for filter in filters {
        push_text(filter, &mut body);
        body.push(0x10 | qos);
    }
    push_packet(0x82, &body, output);
}

/// Appends an UNSUBSCRIBE.
pub(crate) fn unsubscribe<'f>(id: u16, filters: impl Iterator<Item = &'f str>, output: &mut Vec<u8>) {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    filters.for_each(|filter| push_text(filter, &mut body));
    push_packet(0xa2, &body, output);
}

/// How many bytes a PUBLISH has.
pub(crate) fn publish_bytes(topic: &str, payload: usize) -> usize {
    let body = 2 + topic.len() + 2 + 1 + payload;
    1 + length_bytes(body) + body
}

/// Appends a PUBLISH of `QoS` 1 or 2.
pub(crate) fn publish(message: &Message<'_>, output: &mut Vec<u8>) {
    let flags = u8::from(message.is_repeated) << 3 | message.qos << 1 | u8::from(message.is_retained);
    output.push(0x30 | flags);
    push_length(2 + message.topic.len() + 2 + 1 + message.payload.len(), output);
    push_text(message.topic, output);
    output.extend_from_slice(&message.id.to_be_bytes());
    output.push(0);
    output.extend_from_slice(message.payload);
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn step(step: Step, id: u16, reason: Reason, output: &mut Vec<u8>) {
    let first = (step as u8) << 4 | if step == Step::Released { 2 } else { 0 };
    let [high, low] = id.to_be_bytes();
    if reason == Reason::SUCCESS {
        output.extend_from_slice(&[first, 2, high, low]);
    } else {
        output.extend_from_slice(&[first, 3, high, low, reason.0]);
    }
}

/// Appends a PINGREQ.
pub(crate) fn ping(output: &mut Vec<u8>) {
    output.extend_from_slice(&[0xc0, 0]);
}

fn push_packet(first: u8, body: &[u8], output: &mut Vec<u8>) {
    output.push(first);
    push_length(body.len(), output);
    output.extend_from_slice(body);
}

fn length_bytes(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "seven bits fit")]
fn push_length(mut length: usize, output: &mut Vec<u8>) {
    while length >= 0x80 {
        output.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    output.push(length as u8);
}

/// Texts that may be longer were looked at before.
fn push_text(text: &str, output: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("topics, ids and logins have at most 65,535 bytes");
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for payload in [0, 1, 120, 200, 20_000, 3_000_000] {
            let payload = vec![b'x'; payload];
            let message = Message {
                topic: "plant/1/température",
                payload: &payload,
                qos: 1,
                id: 0x1234,
                is_repeated: true,
                is_retained: false,
            };
            let mut bytes = Vec::new();
            publish(&message, &mut bytes);
            assert_eq!(bytes.len(), publish_bytes(message.topic, payload.len()));
            assert_eq!(length(&bytes), Ok(Some(bytes.len())));
            assert_eq!(read(&bytes), Ok(Incoming::Message(message)));
            assert_eq!(read(&bytes[..9]), Err(TOO_SHORT));
        }
    }

    #[test]
    fn steps_are_read_as_they_were_written() {
        let steps = [Step::Acknowledged, Step::Received, Step::Released, Step::Completed];
        for (kind, reason) in steps
            .into_iter()
            .zip([Reason(0), Reason(0x87), Reason(0), Reason(0x92)])
        {
            let mut bytes = Vec::new();
            step(kind, 7, reason, &mut bytes);
            let expected = Incoming::Step {
                step: kind,
                id: 7,
                reason,
            };
            assert_eq!(read(&bytes), Ok(expected));
        }
    }

    #[test]
    fn an_answer_says_what_the_broker_takes() {
        // As mosquitto 2.0.11 sends it, with a limit of packets.
        let bytes = [
            0x20, 0x10, 0x01, 0x00, 0x0d, 0x21, 0x00, 0x14, 0x22, 0x00, 0x0a, 0x27, 0x00, 0x00, 0x10, 0x00, 0x25, 0x00,
        ];
        let Ok(Incoming::Answer(answer)) = read(&bytes) else {
            panic!("{:?}", read(&bytes));
        };
        assert!(answer.has_session && !answer.takes_retained && answer.reason == Reason::SUCCESS);
        assert_eq!(
            (answer.receive_max, answer.qos_max, answer.packet_max),
            (20, 2, Some(4_096))
        );
        // A broker of an older version refuses.
        let Ok(Incoming::Answer(answer)) = read(&[0x20, 0x02, 0x00, 0x01]) else {
            panic!("it is read");
        };
        assert_eq!(answer.reason, Reason(0x84));
    }

    #[test]
    fn a_length_is_known_as_soon_as_its_bytes_are_there() {
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&[0x30]), Ok(None));
        assert_eq!(length(&[0x30, 0x80]), Ok(None));
        assert_eq!(length(&[0x30, 0x80, 0x01]), Ok(Some(131)));
        assert!(length(&[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_broker_sends_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 2..200)) {
            let _ = length(&bytes);
            let _ = read(&bytes);
        }
    }
}
