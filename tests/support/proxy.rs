//! A network between two processes, which a test can cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Carries connections to a port, unless it is cut.
pub(crate) struct Proxy {
    port: u16,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    state: Mutex<State>,
    mended: Condvar,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_stalled: bool,
    connections: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::<Network>::default();
        let shared = network.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared.carry(client, target);
            }
        });
        Self { port, network }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Resets all connections, and takes no more.
    pub(crate) fn cut(&self) {
        let mut state = self.network.state.lock().unwrap();
        state.is_cut = true;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Has bytes wait on their way, in both directions.
    pub(crate) fn stall(&self) {
        self.network.state.lock().unwrap().is_stalled = true;
    }

    /// Carries connections again.
    pub(crate) fn mend(&self) {
        let mut state = self.network.state.lock().unwrap();
        (state.is_cut, state.is_stalled) = (false, false);
        self.network.mended.notify_all();
    }
}

impl Network {
    fn carry(self: &Arc<Self>, client: TcpStream, target: u16) {
        let mut state = self.state.lock().unwrap();
        if state.is_cut {
            return;
        }
        let Ok(server) = TcpStream::connect_timeout(&([127, 0, 0, 1], target).into(), Duration::from_secs(5)) else {
            return;
        };
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        state.connections.extend([copy(&client), copy(&server)]);
        drop(state);
        for (from, to) in [(copy(&client), copy(&server)), (server, client)] {
            let network = self.clone();
            std::thread::spawn(move || network.copy(from, to));
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut state = self.state.lock().unwrap();
            while state.is_stalled {
                state = self.mended.wait(state).unwrap();
            }
            drop(state);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
