use super::*;

#[test]
fn conversation_of_every_kind_ends_whole_at_both_ends() -> Result<()> {
    let Some((host, parley)) = parley("parley")? else { return Ok(()) };
    for (id, talk) in (0..).zip(Talk::ALL) {
        let call = Call::begin(connect(&host, parley.port())?, id, talk)?;
        call.close();
        assert_eq!(call.ending(), Ending::Whole, "{talk:?}");
        settled(&parley, id, |ending| ending == Ending::Whole)?;
    }
    Ok(())
}

/// The controls: each fault that must be seen is seen, by a relay that does it on purpose.
#[test]
fn what_is_missing_or_changed_is_noticed() -> Result<()> {
    let Some((host, parley)) = parley("parley-bad")? else { return Ok(()) };
    let is_broken = |ending| matches!(ending, Ending::Broken(_));
    for (id, talk) in (0..).zip(Talk::ALL.into_iter().cycle().take(20)) {
        let (call, middle) = through(&host, parley.port(), id, talk, Fault::Reset)?;
        assert!(is_broken(call.ending()), "{talk:?} was reset");
        middle.join().expect("it does not panic")?;
    }
    for talk in [Talk::Down, Talk::Chat, Talk::Quiet] {
        let (call, middle) = through(&host, parley.port(), 100, talk, Fault::End)?;
        assert_eq!(call.ending(), Ending::Truncated, "{talk:?} was cut short");
        middle.join().expect("it does not panic")?;
    }
    let (call, middle) = through(&host, parley.port(), 200, Talk::Down, Fault::Change)?;
    assert_eq!(call.ending(), Ending::Corrupt);
    Ok(middle.join().expect("it does not panic")?)
}

#[derive(Clone, Copy)]
enum Fault {
    Reset,
    End,
    Change,
}

type Middle = JoinHandle<io::Result<()>>;

/// A conversation through a middle that does wrong once some bytes of the service have passed.
fn through(host: &Host, port: u16, id: u64, talk: Talk, fault: Fault) -> Result<(Call, Middle)> {
    let listener = host.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
    let call = Call::begin(connect(host, listener.local_addr()?.port())?, id, talk)?;
    let (near, far) = (listener.accept()?.0, connect(host, port)?);
    let middle = std::thread::spawn(move || {
        let mut up = (near.try_clone()?, far.try_clone()?);
        let carrying = std::thread::spawn(move || io::copy(&mut up.0, &mut up.1).map(drop));
        let ended = spoil(&near, &far, talk, fault);
        let _ = far.shutdown(Shutdown::Both);
        // How the other direction ends is not what this is about.
        let _ = carrying.join();
        ended
    });
    Ok((call, middle))
}

fn spoil(mut near: &TcpStream, mut far: &TcpStream, talk: Talk, fault: Fault) -> io::Result<()> {
    if talk != Talk::Up && talk != Talk::Quiet {
        let mut some = [0; 3];
        far.read_exact(&mut some)?;
        near.write_all(&some)?;
    }
    match fault {
        Fault::Reset => {
            socket2::SockRef::from(near).set_linger(Some(Duration::ZERO))?;
            near.shutdown(Shutdown::Read)
        }
        Fault::End => near.shutdown(Shutdown::Write),
        Fault::Change => {
            let mut rest = vec![0; 8192];
            far.read_exact(&mut rest)?;
            rest[4096] ^= 1;
            near.write_all(&rest)?;
            io::copy(&mut far, &mut near).map(drop).or(Ok(()))
        }
    }
}

fn parley(name: &str) -> Result<Option<(Host, Parley)>> {
    let Some(lab) = crate::lab::Lab::or_skip(name) else { return Ok(None) };
    let host = lab.host("host")?;
    let parley = Parley::start(&host)?;
    Ok(Some((host, parley)))
}

fn connect(host: &Host, port: u16) -> Result<TcpStream> {
    Ok(host.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))??)
}

fn settled(parley: &Parley, id: u64, wanted: impl Fn(Ending) -> bool) -> Result<()> {
    let settled = crate::lab::wait_until(PATIENCE, || Ok(parley.ending(id)))?;
    anyhow::ensure!(settled.is_some_and(&wanted), "{settled:?}");
    Ok(())
}
