use super::*;
use crate::message::{GoAway, Hello};
use crate::session::Config;
use tokio::io::duplex;

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
    assert_eq!(happened.recv().await, Some(Event::Hello(Hello::default())));
    commands.send(Command::Welcome(Welcome { heartbeat_ms: 1000, ..Welcome::default() })).await.unwrap();
    let last = Message::GoAway(GoAway { reason: "moved".into(), ..GoAway::default() });
    commands.send(Command::Finish(last.clone(), "moved".into())).await.unwrap();
    assert_eq!(server.await.unwrap(), CloseReason::Local("moved".into()));
    let (end, events) = agent.await.unwrap();
    assert_eq!(end, CloseReason::Eof);
    assert_eq!(events.last(), Some(&Event::Message(last)));
}
