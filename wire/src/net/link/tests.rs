use super::*;
use crate::message::{GoAway, Goodbye, Hello, Open};
use crate::session::Config;
use std::future::Future;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

#[tokio::test(start_paused = true)]
async fn two_drivers_establish_a_session_and_close_it() {
    let (near, far) = duplex(64);
    let now = tokio::time::Instant::now().into_std();
    let (commands, mut commanded) = mpsc::channel(8);
    let (events, mut happened) = mpsc::channel(8);
    let agent = tokio::spawn(async move {
        let mut session = Session::agent(now, Config::default(), Hello::default()).unwrap();
        let (_keep, mut none) = mpsc::channel(1);
        let (told, mut heard) = mpsc::channel(8);
        let end = drive(near, &mut session, &mut none, &told).await;
        heard.close();
        let mut events = Vec::new();
        while let Some(event) = heard.recv().await {
            events.push(event);
        }
        (end, events)
    });
    let server = tokio::spawn(async move {
        let mut session = Session::server(now, Config::default());
        drive(far, &mut session, &mut commanded, &events).await
    });
    assert_eq!(happened.recv().await, Some(Box::new(Event::Hello(Box::default()))));
    commands
        .send(Box::new(Command::Welcome(Welcome { heartbeat_ms: 1000, ..Welcome::default() })))
        .await
        .unwrap();
    let last = Message::GoAway(GoAway { reason: "moved".into(), ..GoAway::default() });
    commands.send(Box::new(Command::Finish(last.clone(), "moved".into()))).await.unwrap();
    assert_eq!(server.await.unwrap(), CloseReason::Local("moved".into()));
    let (end, events) = agent.await.unwrap();
    assert_eq!(end, CloseReason::Eof);
    assert_eq!(events.last().map(|event| &**event), Some(&Event::Message(last)));
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_does_not_wait_for_a_peer_that_never_reads() {
    let (mut stage, mut heard) = Stage::established().await;
    for _ in 0..20 {
        let open = Open { grant: vec![7; 1000].into(), ..Open::default() };
        stage.commands.send(Box::new(Command::Send(Message::Open(open)))).await.unwrap();
    }
    let finish = Command::Finish(Message::GoAway(GoAway::default()), "moved".into());
    stage.commands.send(Box::new(finish)).await.unwrap();
    let (end, took, polls) = stage.end().await;
    assert_eq!(end, CloseReason::Local("moved".into()));
    assert!(took <= FLUSH_TIMEOUT, "{took:?}");
    assert!(polls < 100, "{polls} polls: it spins");
    assert!(heard.try_recv().is_err(), "the peer said nothing more");
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_does_not_wait_for_an_application_that_takes_nothing() {
    let (mut stage, mut heard) = Stage::established().await;
    let mut bytes = BytesMut::new();
    for _ in 0..3 {
        Message::Ping.encode(0, &mut bytes).unwrap();
    }
    let goodbye = Message::Goodbye(Goodbye { reason: "x".into() });
    goodbye.encode(0, &mut bytes).unwrap();
    stage.far.write_all(&bytes).await.unwrap();
    // The application is given one event and no room for more; then this end closes.
    stage.until(|stage| stage.events.capacity() == 0).await;
    let finish = Command::Finish(Message::GoAway(GoAway::default()), "moved".into());
    stage.commands.send(Box::new(finish)).await.unwrap();
    let (end, took, polls) = stage.end().await;
    assert_eq!(end, CloseReason::Local("moved".into()));
    assert!(took <= FLUSH_TIMEOUT, "{took:?}");
    assert!(polls < 100, "{polls} polls: it spins");
    assert_eq!(heard.recv().await, Some(Box::new(Event::Heartbeat)));
    let mut said = Vec::new();
    stage.far.read_to_end(&mut said).await.unwrap();
    let mut last = BytesMut::new();
    Message::GoAway(GoAway::default()).encode(0, &mut last).unwrap();
    assert!(said.ends_with(&last), "the farewell is written although nobody takes the events");
}

#[tokio::test(start_paused = true)]
async fn a_session_nobody_commands_any_more_ends_without_spinning() {
    let (mut stage, _heard) = Stage::established().await;
    let (unused, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut stage.commands, unused));
    let (end, took, polls) = stage.end().await;
    assert_eq!(end, CloseReason::Local("this end shuts down".into()));
    assert!(took <= FLUSH_TIMEOUT, "{took:?}");
    assert!(polls < 100, "{polls} polls: it spins");
}

/// A driven server session whose agent end is in the test's hand.
struct Stage {
    far: DuplexStream,
    commands: Commands,
    events: mpsc::Sender<Box<Event>>,
    driven: Pin<Box<dyn Future<Output = CloseReason>>>,
    polls: usize,
}

impl Stage {
    /// The peer said HELLO and from then on reads nothing; there is room for one event and 64 bytes.
    async fn established() -> (Self, mpsc::Receiver<Box<Event>>) {
        let (near, mut far) = duplex(64);
        let (commands, mut commanded) = mpsc::channel(64);
        let (events, mut heard) = mpsc::channel(1);
        let told = events.clone();
        let mut session = Session::server(now(), Config::default());
        let driven = Box::pin(async move { drive(near, &mut session, &mut commanded, &told).await });
        let mut hello = BytesMut::new();
        Message::Hello(Box::default()).encode(0, &mut hello).unwrap();
        far.write_all(&hello).await.unwrap();
        let mut stage = Self { far, commands, events, driven, polls: 0 };
        stage.until(|stage| stage.events.capacity() == 0).await;
        assert_eq!(heard.recv().await, Some(Box::new(Event::Hello(Box::default()))));
        stage.commands.send(Box::new(Command::Welcome(Welcome::default()))).await.unwrap();
        stage.until(|stage| stage.commands.capacity() == 64).await;
        (stage, heard)
    }

    /// Lets the session run until something is so.
    async fn until(&mut self, so: impl Fn(&Self) -> bool) {
        poll_fn(|context| {
            assert!(self.driven.as_mut().poll(context).is_pending());
            match so(self) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Runs the session to its end: why, after how long, in how many polls.
    async fn end(&mut self) -> (CloseReason, Duration, usize) {
        let start = tokio::time::Instant::now();
        let end = poll_fn(|context| {
            self.polls += 1;
            self.driven.as_mut().poll(context)
        })
        .await;
        (end, start.elapsed(), self.polls)
    }
}
