//! A broker that sends the bytes that a test gives it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

const CONNECT: u8 = 0x10;
const PUBREC: u8 = 0x50;
const SUBSCRIBE: u8 = 0x82;

/// A packet of a type that MQTT 5 does not have.
pub(crate) const MALFORMED: &[u8] = &[0, 0];

pub(crate) struct Scripted {
    listener: TcpListener,
}

/// A connection whose client has subscribed.
pub(crate) struct Session {
    stream: TcpStream,
}

impl Scripted {
    pub(crate) fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection, once the client has subscribed; `is_kept` where the broker has kept its session.
    pub(crate) fn accept(&self, is_kept: bool) -> Session {
        let (stream, _) = self.listener.accept().unwrap();
        let mut session = Session { stream };
        session.wait_for(CONNECT);
        session.send(&[0x20, 3, u8::from(is_kept), 0, 0]);
        let subscribe = session.wait_for(SUBSCRIBE);
        session.send(&[0x90, 4, subscribe[0], subscribe[1], 0, 2]);
        session
    }
}

impl Session {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads until the client has received the message with this id, and releases it.
    pub(crate) fn release(&mut self, id: u8) {
        let received = self.wait_for(PUBREC);
        assert_eq!(received[..2], [0, id]);
        self.send(&[0x62, 2, 0, id]);
    }

    /// Reads until a packet of this type comes, and gives what is after its length.
    fn wait_for(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let found = self.byte();
            let mut length = 0;
            for place in 0.. {
                let byte = self.byte();
                length |= usize::from(byte & 0x7f) << (7 * place);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut rest = vec![0; length];
            self.stream.read_exact(&mut rest).unwrap();
            if found == kind {
                return rest;
            }
        }
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        byte[0]
    }
}

/// A message of `QoS` 2; `is_repeated` if it was sent before.
pub(crate) fn publish(id: u8, topic: &str, payload: &str, is_repeated: bool) -> Vec<u8> {
    let rest = [
        &[0, length(topic)][..],
        topic.as_bytes(),
        &[0, id, 0],
        payload.as_bytes(),
    ]
    .concat();
    let rest_length = u8::try_from(rest.len()).ok().filter(|length| *length < 0x80);
    let head = [0x34 | u8::from(is_repeated) << 3, rest_length.expect("a short message")];
    [&head[..], &rest].concat()
}

fn length(topic: &str) -> u8 {
    u8::try_from(topic.len()).unwrap()
}
