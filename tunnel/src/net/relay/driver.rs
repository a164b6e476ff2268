//! The task that owns the core.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::handover::{Awaited, Handover, Leaving};
use super::parked::{Parked, Watched};
use super::report::Report;
use super::yard::{Movers, Pair, Yard};
use super::{LiveTunnel, Moved, QUEUE, RelayEvent};
use crate::grant::Grant;
use crate::label::{Cookie, Label, LabelSecret};
use crate::net::clock::{now, until};
use crate::net::mover::Stop;
use crate::pair::{ConnId, PairEnd, PairId};
use crate::relay::{AdmitError, Input, Output, Relay};

/// What handles ask for.
#[derive(Debug)]
pub(super) enum Command {
    Admit {
        now_unix: u64,
        grant: Arc<Grant>,
        secret: LabelSecret,
        reply: oneshot::Sender<Result<(), AdmitError>>,
    },
    Initiator {
        stream: TcpStream,
        label: Label,
        peer: SocketAddr,
    },
    Target {
        stream: TcpStream,
        cookie: Cookie,
    },
    Tell(Input),
    Tunnels {
        reply: oneshot::Sender<Vec<LiveTunnel>>,
    },
    HandOver(Handover),
    Stop,
}

pub(super) struct Driver {
    pub(super) core: Relay,
    pub(super) yard: Yard,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<RelayEvent>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    next_conn: u64,
    /// What came last, until the core has said whether it is joined at once.
    fresh: Option<ConnId>,
    parked: HashMap<ConnId, Parked>,
    pub(super) pairs: HashMap<PairId, Pair>,
    /// Its pairs are given to another relay.
    pub(super) leaving: Option<Leaving>,
    /// Pairs of another relay whose sockets have not come yet.
    pub(super) awaited: HashMap<PairId, Awaited>,
    /// It was asked to stop, and does once the last pair has ended.
    pub(super) stopping: bool,
}

impl Driver {
    pub(super) fn new(
        core: Relay,
        movers: Movers,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<RelayEvent>,
    ) -> Self {
        let (reporter, reports) = mpsc::channel(QUEUE);
        let yard = Yard::new(movers, reporter.clone());
        Self {
            core,
            yard,
            commands,
            events,
            reports,
            reporter,
            next_conn: 0,
            fresh: None,
            parked: HashMap::new(),
            pairs: HashMap::new(),
            leaving: None,
            awaited: HashMap::new(),
            stopping: false,
        }
    }

    /// Runs until it was stopped and every pair has ended, or until every handle is dropped; then each mover ends,
    /// because its `stop` is dropped with `self`.
    pub(super) async fn run(mut self) {
        loop {
            // 1. Drain.
            while let Some(output) = self.core.poll_output() {
                self.act(output).await;
            }
            self.watch_fresh();
            self.tell_live_pairs();
            if self.stopping && self.pairs.is_empty() {
                return;
            }
            // 2. Wait for whatever comes first.
            tokio::select! {
                command = self.commands.recv(), if !self.stopping => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(report) = self.reports.recv() => self.hear(report),
                () = until(self.core.poll_timeout()) => self.core.handle_timeout(now()),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Admit { now_unix, grant, secret, reply } => {
                let admitted = self.core.admit(now(), now_unix, grant, secret);
                // Who asked may have given up; the grant then ends unused.
                let _ = reply.send(admitted);
            }
            Command::Initiator { stream, label, peer } => {
                let conn = self.park(stream);
                self.core.handle_input(now(), Input::Initiator { conn, label, peer });
            }
            Command::Target { stream, cookie } => {
                let conn = self.park(stream);
                self.core.handle_input(now(), Input::Target { conn, cookie });
            }
            Command::Tell(input) => self.core.handle_input(now(), input),
            Command::Tunnels { reply } => {
                let _ = reply.send(self.tunnels());
            }
            Command::HandOver(handover) => self.hand_over(handover),
            Command::Stop => {
                self.stopping = true;
                self.core.handle_input(now(), Input::Shutdown);
            }
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            // A socket that was joined or dropped meanwhile is no news to the core.
            Report::Gone(conn) if self.parked.remove(&conn).is_some() => {
                self.core.handle_input(now(), Input::Gone { conn });
            }
            Report::Gone(_) => {}
            Report::Ended(pair, end) => self.ended(pair, end),
            Report::Lifted(pair, lifted) => self.lifted(pair, lifted),
        }
    }

    pub(super) fn ended(&mut self, pair: PairId, end: PairEnd) {
        self.pairs.remove(&pair);
        match &mut self.leaving {
            Some(leaving) if leaving.has_told() => leaving.departed(pair, end),
            _ => self.core.handle_input(now(), Input::Ended { pair, end }),
        }
    }

    async fn act(&mut self, output: Output) {
        match output {
            Output::Open { device, open } => self.tell(RelayEvent::Open { device, open }).await,
            Output::RevokeAt { device, grants, reason } => {
                self.tell(RelayEvent::RevokeAt { device, grants, reason }).await;
            }
            Output::Record(record) => self.tell(RelayEvent::Record(record)).await,
            Output::Refused { why, grant, peer } => {
                // A flood of these must not hold up the tunnels.
                let _ = self.events.try_send(RelayEvent::Refused { why, grant, peer });
            }
            Output::Join { pair, tenant, initiator, target, limits } => {
                let sockets = [self.parked.remove(&initiator), self.parked.remove(&target)];
                self.pairs.insert(pair, self.yard.join(pair, tenant, sockets, limits));
            }
            Output::Drop { conn } => drop(self.parked.remove(&conn)),
            Output::Cut { pair, reason } => {
                if let Some(stop) = self.pairs.get_mut(&pair).and_then(|pair| pair.stop.take()) {
                    // An error means that the mover has just ended by itself.
                    let _ = stop.send(Stop::Cut(reason));
                }
                self.cut_awaited(pair, reason);
            }
        }
    }

    /// A server that no longer listens is shutting down, and then so is this task.
    async fn tell(&self, event: RelayEvent) {
        let _ = self.events.send(event).await;
    }

    fn park(&mut self, stream: TcpStream) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.parked.insert(conn, Parked::Fresh(stream));
        self.fresh = Some(conn);
        conn
    }

    /// Has the socket that came last watched, if it was not joined or dropped.
    fn watch_fresh(&mut self) {
        let Some(conn) = self.fresh.take() else { return };
        if let Some(Parked::Fresh(stream)) = self.parked.remove(&conn) {
            let watched = Watched::new(conn, stream, self.yard.place(), self.reporter.clone());
            self.parked.insert(conn, Parked::Watched(watched));
        }
    }

    /// What a pair has moved so far.
    pub(super) fn moved(&self, pair: PairId) -> Moved {
        match self.pairs.get(&pair) {
            Some(pair) => Moved::of(&pair.course.flow),
            None => self.awaited.get(&pair).map(|awaited| awaited.moved).unwrap_or_default(),
        }
    }

    fn tunnels(&self) -> Vec<LiveTunnel> {
        let live = |view: crate::relay::TunnelView| {
            let moved = view.pairs.iter().map(|view| self.moved(view.pair)).collect();
            LiveTunnel { view, moved }
        };
        self.core.tunnels().map(live).collect()
    }
}
