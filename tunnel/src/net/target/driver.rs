//! The task that owns the core.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use klnet_wire::message::Message;
use klnet_wire::signed::Context;
use klnet_wire::signing::SigningKey;
use rustls::ServerConfig;
use tokio::sync::mpsc;

use super::connection::{self, Connection, Order};
use super::{Config, QUEUE, Session};
use crate::label::Cookie;
use crate::net::clock::{now, until};
use crate::net::inner;
use crate::pair::ConnId;
use crate::stream::Answer;
use crate::target::{Input, Output, Target};

/// What handles ask for.
#[derive(Debug)]
pub(super) enum Command {
    Connected(Session),
    Tell(Input),
}

pub(super) struct Driver {
    core: Target,
    key: SigningKey,
    own_addresses: fn() -> Vec<IpAddr>,
    tls: Arc<ServerConfig>,
    /// Where dial-backs go: where the latest control connection leads.
    server: Option<SocketAddr>,
    commands: mpsc::Receiver<Command>,
    messages: mpsc::Sender<Message>,
    reports: mpsc::Receiver<Input>,
    reporter: mpsc::Sender<Input>,
    /// A connection whose orders are dropped closes.
    connections: HashMap<ConnId, mpsc::Sender<Order>>,
}

impl Driver {
    pub(super) fn new(
        Config { core, key, own_addresses }: Config,
        commands: mpsc::Receiver<Command>,
        messages: mpsc::Sender<Message>,
    ) -> Self {
        let (reporter, reports) = mpsc::channel(QUEUE);
        let (tls, connections) = (inner::target_config(&key), HashMap::new());
        Self {
            core: Target::new(core),
            key,
            own_addresses,
            tls,
            server: None,
            commands,
            messages,
            reports,
            reporter,
            connections,
        }
    }

    /// Runs until every handle is dropped; then every connection closes, because its orders are dropped with `self`.
    pub(super) async fn run(mut self) {
        loop {
            // 1. Drain.
            while let Some(output) = self.core.poll_output() {
                self.act(output);
            }
            // 2. Wait for whatever comes first.
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(report) = self.reports.recv() => self.hear(report),
                () = until(self.core.poll_timeout()) => self.core.handle_timeout(now()),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let input = match command {
            Command::Tell(input) => input,
            Command::Connected(Session { server, epoch, clock, relay, forbidden }) => {
                self.server = Some(server);
                Input::Connected { epoch, clock, forbidden, relay }
            }
        };
        self.core.handle_input(now(), input);
    }

    fn hear(&mut self, report: Input) {
        match &report {
            Input::DialedBack { conn, result: Err(_) }
            | Input::HandshakeFailed { conn, .. }
            | Input::Ended { conn, .. } => drop(self.connections.remove(conn)),
            // Now addresses are about to be judged.
            Input::Go { conn, .. } | Input::Resolved { conn, .. } if self.core.judges_addresses(*conn) => {
                self.core.handle_input(now(), Input::OwnAddresses((self.own_addresses)()));
            }
            _ => {}
        }
        self.core.handle_input(now(), report);
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::DialBack { conn, cookie, grant: _, deadline } => self.dial_back(conn, cookie, deadline),
            Output::Resolve { conn, host, port } => self.order(conn, Order::Resolve { host, port }),
            Output::Dial { conn, addresses } => self.order(conn, Order::Dial(addresses)),
            Output::Answer { conn, answer } => {
                let refused = matches!(answer, Answer::Refused { .. });
                self.order(conn, Order::Answer(answer));
                if refused {
                    self.connections.remove(&conn);
                }
            }
            Output::Carry { conn, limits } => self.order(conn, Order::Carry(limits)),
            Output::Cut { conn, reason } => self.order(conn, Order::Cut(reason)),
            Output::Drop { conn } => drop(self.connections.remove(&conn)),
            Output::Send(message) => self.send(message),
            Output::Sign(record) => {
                match self.key.try_sign(Context::TunnelRecord, record.encode()) {
                    Ok(signed) => self.send(Message::TunnelRecord(signed)),
                    // The core asks again until the server has it.
                    Err(error) => tracing::debug!(%error, "the record of a connection is not signed yet"),
                }
            }
        }
    }

    fn dial_back(&mut self, conn: ConnId, cookie: Cookie, deadline: Instant) {
        let (orders, queue) = mpsc::channel(ORDERS);
        self.connections.insert(conn, orders);
        let connection = Connection::new(conn, self.reporter.clone(), queue);
        let (server, tls) = (self.server, self.tls.clone());
        tokio::spawn(connection.run(connection::Start { server, cookie, deadline, tls }));
    }

    fn order(&self, conn: ConnId, order: Order) {
        // A connection that ended has reported so, or will.
        let taken = self.connections.get(&conn).map(|orders| orders.try_send(order));
        debug_assert!(
            !matches!(taken, Some(Err(mpsc::error::TrySendError::Full(_)))),
            "few orders per connection"
        );
    }

    fn send(&self, message: Message) {
        if let Err(error) = self.messages.try_send(message) {
            tracing::debug!(%error, "a message about a tunnel was left out");
        }
    }
}

/// Orders that wait for a connection; the core gives one and waits for its result.
const ORDERS: usize = 8;
