//! Who may do what, who is told why not, and what the audit log says afterwards.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_tests::fault::{CLOCK_LIBRARIES, shift_clock};
use klnet_tests::fleet::service::Echo;
use klnet_tests::fleet::{Fleet, Held, PATIENCE, Said, Tunnel, Wanted};
use klnet_tests::lab::{Lab, wait_until};
use klnet_tests::scale;
use serde_json::Value;

#[test]
fn each_role_allows_what_it_says_and_nothing_more() -> Result<()> {
    let Some(lab) = Lab::or_skip("roles") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let device = fleet.device("web-7")?;
    let neighbour = device.neighbour("printer")?.address().to_string();
    let wanted = [(None, 80), (Some(neighbour.as_str()), 80), (None, 3389), (Some(neighbour.as_str()), 3389)];
    let allowed = [
        ("administrator", [true; 4]),
        ("tunnel", [true, false, false, false]),
        ("tunnel-hosts", [false, true, false, false]),
        ("rdp", [false, false, true, false]),
    ];
    for (role, allowed) in allowed {
        let operator = fleet.operator(&format!("only-{role}"), &[role])?;
        for ((host, port), allowed) in wanted.into_iter().zip(allowed) {
            let said = operator.grant("web-7", port, Wanted { host, operator: None })?;
            match allowed {
                true => ensure!(said.ok()?.starts_with("klt1."), "{role}, {host:?}, {port}: {said:?}"),
                false => said.refused(3, "needs the role").context(format!("{role}, {host:?}, {port}"))?,
            }
        }
        let may_add = operator.klctl(&["operator", "add", "eve", "--role", "administrator"])?;
        match role {
            "administrator" => may_add.ok().map(drop)?,
            _ => may_add.refused(3, "the right to administer")?,
        }
    }
    let both = fleet.operator("both", &["tunnel-hosts", "rdp"])?;
    both.grant("web-7", 3389, Wanted { host: Some(&neighbour), operator: None })?.ok()?;

    let refused = fleet.wait_audited("refusal", |entry| entry["action"] == "tunnel.refused")?;
    ensure!(refused["detail"]["reason"].as_str().is_some_and(|why| why.contains("role")), "{refused}");
    Ok(())
}

#[test]
fn host_beside_the_device_is_reached_through_it_and_forbidden_ones_are_not() -> Result<()> {
    let Some(lab) = Lab::or_skip("hosts") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let device = fleet.device("web-7")?;
    let printer = device.neighbour("printer")?;
    let echo = Echo::at(&printer, (Ipv4Addr::UNSPECIFIED, 0).into())?;
    let on_device = Echo::at(device.host(), (Ipv4Addr::UNSPECIFIED, echo.port()).into())?;
    let on_server = Echo::at(fleet.server().host(), (Ipv4Addr::UNSPECIFIED, echo.port()).into())?;
    let anna = fleet.operator("anna", &["tunnel-hosts"])?;

    let tunnel = anna.tunnel(&format!("web-7:{}:{}", printer.address(), echo.port()))?;
    round_trip(&tunnel)?;
    assert_eq!(echo.accepted(), 1);

    let forbidden = [
        "127.0.0.1".to_owned(),
        "169.254.169.254".to_owned(),
        "localhost".to_owned(),
        device.host().address().to_string(),
        fleet.server().host().address().to_string(),
        format!("[::ffff:{}]", fleet.server().host().address()),
        "[::1]".to_owned(),
    ];
    for host in forbidden {
        let said = anna.klsctunnel(&["stdio", &format!("web-7:{host}:{}", echo.port())])?;
        ensure!([1, 3].contains(&said.code), "{host}: {said:?}");
        ensure!(said.stderr.contains("address"), "{host}: the operator reads why: {}", said.stderr);
    }
    assert_eq!((on_device.accepted(), on_server.accepted()), (0, 0), "no packet went where it must not");
    Ok(())
}

#[test]
fn socks_port_leads_where_the_operators_roles_do() -> Result<()> {
    let Some(lab) = Lab::or_skip("socks") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let device = fleet.device("web-7")?;
    let printer = device.neighbour("printer")?;
    let beside = Echo::at(&printer, (Ipv4Addr::UNSPECIFIED, 0).into())?;
    let own = Echo::start(device.host())?;
    let (anna, ben) = (fleet.operator("anna", &["tunnel-hosts"])?, fleet.operator("ben", &["tunnel"])?);
    let (hosts, device_only) = (anna.socks("web-7")?, ben.socks("web-7")?);
    let (loopback, printer) = (Ipv4Addr::LOCALHOST, printer.address());
    for (tunnel, host, port, reply) in [
        (&hosts, printer, beside.port(), 0),
        (&hosts, loopback, own.port(), 2),
        (&hosts, fleet.server().host().address(), beside.port(), 2),
        (&device_only, printer, beside.port(), 2),
        (&device_only, loopback, own.port(), 0),
    ] {
        let mut stream = tunnel.connect()?;
        let [a, b, c, d] = host.octets();
        stream.write_all(&[5, 1, 0])?;
        stream.read_exact(&mut [0; 2])?;
        stream.write_all(&[&[5, 1, 0, 1, a, b, c, d][..], &port.to_be_bytes()].concat())?;
        let mut said = [0; 10];
        stream.read_exact(&mut said)?;
        assert_eq!(said[1], reply, "{host}:{port}");
        if reply == 0 {
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
        }
    }
    assert_eq!((beside.accepted(), own.accepted()), (1, 1));
    Ok(())
}

#[test]
fn grant_for_somebody_else_is_good_on_their_machine_only() -> Result<()> {
    let Some(lab) = Lab::or_skip("for") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let device = fleet.device("web-7")?;
    let echo = Echo::start(device.host())?;
    let (anna, ben) = (fleet.operator("anna", &["rdp"])?, fleet.operator("ben", &["tunnel"])?);

    let wanted = Wanted { operator: Some("anna"), host: None };
    let blob = fleet.admin().grant("web-7", echo.port(), wanted)?.ok()?.to_owned();
    let stolen = ben.klsctunnel(&["stdio", &blob])?;
    stolen.refused(3, "the grant is for another operator's key")?;
    assert_eq!(echo.accepted(), 0, "the service on the device heard nothing of it");
    let reported = fleet.wait_audited("rejection", |entry| entry["action"] == "tunnel.rejected")?;
    ensure!(reported["detail"]["reason"].is_string(), "{reported}");

    // The stolen copy has burned nothing.
    round_trip(&anna.tunnel(&blob)?)?;
    assert_eq!(echo.accepted(), 1);

    let for_others = ben.grant("web-7", echo.port(), wanted)?;
    for_others.refused(3, "only administrators grant tunnels to other operators")?;
    fleet.admin().invite("late", &["tunnel"])?;
    let wanted = Wanted { operator: Some("late"), host: None };
    fleet.admin().grant("web-7", echo.port(), wanted)?.refused(3, "has not logged in yet")
}

#[test]
fn grant_must_begin_in_time_whatever_the_clocks_say() -> Result<()> {
    let Some(lab) = Lab::or_skip("expired") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let device = fleet.device("web-7")?;
    let echo = Echo::start(device.host())?;
    let anna = fleet.operator("anna", &["tunnel"])?;
    let blob =
        || Ok::<_, anyhow::Error>(anna.grant("web-7", echo.port(), Wanted::default())?.ok()?.to_owned());

    if CLOCK_LIBRARIES.iter().any(|library| std::path::Path::new(library).exists()) {
        for offset in ["-10d", "+10d"] {
            let mut stdio = anna.command("klsctunnel")?;
            let said =
                Said::within(PATIENCE, shift_clock(stdio.args(["stdio", &blob()?]), offset)?, b"hello")?;
            assert_eq!(said.ok()?, "hello", "a clock that is {offset} off is no part of it");
        }
    }
    if scale(false, true) {
        let late = blob()?;
        // The sessions that did begin stay; this grant goes.
        let unused = |tunnels: Vec<Value>| tunnels.iter().any(|tunnel| tunnel["begun"] == false);
        let gone = wait_until(PATIENCE * 4, || Ok((!unused(fleet.admin().tunnels()?)).then_some(())))?;
        gone.context("the grant that nobody used stays in the list")?;
        anna.klsctunnel(&["stdio", &late])?.refused(3, "expired")?;
        assert_eq!(echo.accepted(), 2);
    }
    Ok(())
}

#[test]
fn revoking_cuts_what_is_open_within_a_second() -> Result<()> {
    let Some(lab) = Lab::or_skip("revoke") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let device = fleet.device("web-7")?;
    let echo = Echo::start(device.host())?;
    let held = Held::by(&fleet, &[&device])?;
    let target = format!("web-7:{}", echo.port());
    let (anna, ben) = (fleet.operator("anna", &["tunnel"])?, fleet.operator("ben", &["tunnel"])?);

    let tunnel = anna.tunnel(&target)?;
    let grant = fleet.admin().tunnels()?[0]["grant"].as_str().context("a grant has an id")?.to_owned();
    cut_by(&fleet, &tunnel, &["revoke", "tunnel", &grant, "--reason", "enough"])?;
    let bystander = ben.tunnel(&target)?;
    let mut open = bystander.connect()?;

    let tunnel = anna.tunnel(&target)?;
    cut_by(&fleet, &tunnel, &["revoke", "operator", "anna"])?;
    anna.klctl(&["devices"])?.refused(3, "operator anna was revoked")?;
    anna.klsctunnel(&["stdio", &target])?.refused(3, "operator anna was revoked")?;
    open.write_all(b"x")?;
    open.read_exact(&mut [0])?;
    drop((open, bystander, tunnel));
    held.settle(&fleet)?;

    let tunnel = ben.tunnel(&target)?;
    cut_by(&fleet, &tunnel, &["revoke", "device", "web-7", "--reason", "stolen"])?;
    ben.klsctunnel(&["stdio", &target])?.refused(3, "device web-7 was revoked")?;
    fleet.wait_online(&device, false, PATIENCE)?;
    for action in ["tunnel.revoke", "operator.revoke", "device.revoke"] {
        fleet.wait_audited(action, |entry| entry["action"] == action)?;
    }
    fleet.admin().klctl(&["revoke", "operator", "admin"])?.refused(3, "the last administrator")
}

#[test]
fn klnagchk_says_in_words_how_a_device_stands() -> Result<()> {
    let Some(lab) = Lab::or_skip("check") else { return Ok(()) };
    let mut fleet = Fleet::new(&lab)?;
    let bare = fleet.bare_device("bare")?;
    explains(&bare.check()?, &["not enrolled", "klnagent enroll"])?;

    let mut device = fleet.device("web-7")?;
    let healthy = device.check()?;
    for words in ["the server knows web-7", "klnagent runs and is connected", "clock agrees"] {
        ensure!(healthy.ok()?.contains(words), "{words}: {healthy:?}");
    }

    fleet.server_mut().stop()?;
    explains(&device.check()?, &["nothing listens at", "is klserver running there"])?;
    fleet.server_mut().start()?;
    fleet.wait_online(&device, true, PATIENCE)?;

    device.stop()?;
    explains(&device.check()?, &["no klnagent is running", "systemctl start klnagent"])?;
    device.start()?;
    fleet.wait_online(&device, true, PATIENCE)?;

    fleet.admin().klctl(&["revoke", "device", "web-7"])?.ok()?;
    fleet.wait_online(&device, false, PATIENCE)?;
    explains(&device.check()?, &["revoked", "klnagent enroll --force"])?;

    // As the words advise: with a new token the device is a new one.
    drop(device.stop());
    let line = fleet.admin().token(&[])?;
    device.enroll(&format!("{line} --force"))?.ok()?;
    device.start()?;
    fleet.wait_online(&device, true, PATIENCE)?;
    device.check()?.ok().map(drop)
}

#[test]
fn invitation_and_token_are_good_as_often_as_they_say() -> Result<()> {
    let Some(lab) = Lab::or_skip("once") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let login = fleet.admin().invite("anna", &["tunnel"])?;
    let (first, second) = (fleet.stranger("first")?, fleet.stranger("second")?);
    first.paste(&login)?.ok()?;
    second.paste(&login)?.refused(3, "unknown, used or expired")?;
    ensure!(!second.profile().exists(), "who is refused has no profile");
    assert_eq!(first.ask(&["whoami"])?["name"], "anna");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(first.profile().metadata()?.permissions().mode() & 0o777, 0o600);

    fleet.admin().klctl(&["group", "add", "/office"])?.ok()?;
    fleet.admin().klctl(&["group", "add", "/office/floor-2"])?.ok()?;
    let line = fleet.admin().token(&["--group", "/office/floor-2", "--uses", "2"])?;
    let devices: Vec<_> = (1..=3).map(|n| fleet.bare_device(&format!("desk-{n}"))).collect::<Result<_>>()?;
    devices[0].enroll(&line)?.ok()?;
    devices[1].enroll(&line)?.ok()?;
    devices[2].enroll(&line)?.refused(3, "token")?;
    devices[0].enroll(&line)?.refused(1, "--force")?;

    let shown = fleet.admin().devices()?;
    assert_eq!(shown.len(), 2);
    ensure!(shown.iter().all(|device| device["group"] == "/office/floor-2"), "{shown:#?}");
    ensure!(fleet.admin().ask(&["tokens"])?.as_array().is_some_and(Vec::is_empty), "it is used up");
    fleet.admin().klctl(&["device", "move", "desk-1", "/office"])?.ok()?;
    let moved = fleet.admin().ask(&["device", "show", "desk-1"])?;
    assert_eq!(moved["group"], "/office");
    fleet.admin().klctl(&["group", "remove", "/office"])?.refused(3, "not empty")
}

#[test]
fn audit_log_reconciles_what_relay_and_agent_recorded() -> Result<()> {
    let Some(lab) = Lab::or_skip("audit") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let mut device = fleet.device("web-7")?;
    let echo = Echo::start(device.host())?;
    let anna = fleet.operator("anna", &["tunnel"])?;
    let tunnel = anna.tunnel(&format!("web-7:{}", echo.port()))?;
    round_trip(&tunnel)?;

    let intent = fleet.wait_audited("intent", |entry| entry["action"] == "tunnel.grant")?;
    assert_eq!((&intent["actor"], &intent["detail"]["for"]), (&"anna".into(), &"anna".into()));
    let by_agent = fleet.wait_audited("record of the agent", |entry| {
        entry["action"] == "tunnel.closed" && entry["actor"] == "agent"
    })?;
    let by_relay = fleet.wait_audited("record of the relay", |entry| {
        entry["action"] == "tunnel.closed"
            && entry["actor"] == "relay"
            && entry["detail"]["confirmed"] == "yes"
    })?;
    for key in ["grant", "cookie"] {
        assert_eq!(by_agent["detail"][key], by_relay["detail"][key], "{key}");
    }
    assert_eq!(by_agent["detail"]["grant"], intent["detail"]["grant"]);
    assert_eq!(by_agent["detail"]["address"], format!("127.0.0.1:{}", echo.port()));
    assert_eq!(by_agent["detail"]["to_target"], "5", "the agent counts what the operator sent");
    ensure!(number(&by_relay["detail"]["to_target"])? > 5, "the relay counts what passed, encrypted");

    // An agent that is killed cannot tell; the log says so until somebody does.
    let mut open = tunnel.connect()?;
    open.write_all(b"x")?;
    open.read_exact(&mut [0])?;
    device.kill()?;
    let alone = fleet.wait_audited("unconfirmed record", |entry| {
        entry["action"] == "tunnel.closed" && entry["detail"]["confirmed"] != "yes"
    })?;
    assert_eq!(alone["detail"]["confirmed"], "unconfirmed: no record by the agent", "{alone}");
    assert_eq!(alone["actor"], "relay");
    Ok(())
}

#[test]
fn policy_of_the_device_wins_and_the_operator_reads_it() -> Result<()> {
    let Some(lab) = Lab::or_skip("policy") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let mut device = fleet.bare_device("web-7")?;
    device.enroll(&fleet.admin().token(&[])?)?.ok()?;
    let echo = Echo::start(device.host())?;
    let denied = Echo::start(device.host())?;
    device.configure(&format!("[tunnel]\ndeny_ports = [{}]\nhosts_allowed = false\n", denied.port()))?;
    device.start()?;
    fleet.wait_online(&device, true, PATIENCE)?;

    round_trip(&fleet.admin().tunnel(&format!("web-7:{}", echo.port()))?)?;
    let said = fleet.admin().klsctunnel(&["stdio", &format!("web-7:{}", denied.port())])?;
    said.refused(3, &format!("the device's own policy forbids port {}", denied.port()))?;
    let neighbour = device.neighbour("printer")?.address();
    let said = fleet.admin().klsctunnel(&["stdio", &format!("web-7:{neighbour}:{}", echo.port())])?;
    said.refused(3, "the device's own policy forbids that host")?;
    assert_eq!(denied.accepted(), 0);
    fleet.wait_audited("refusal by the device", |entry| {
        let reason = entry["detail"]["reason"].as_str();
        entry["action"] == "tunnel.refused" && reason.is_some_and(|reason| reason.contains("own policy"))
    })?;
    Ok(())
}

#[test]
fn stranger_without_a_login_is_told_what_to_do() -> Result<()> {
    let Some(lab) = Lab::or_skip("stranger") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let eve = fleet.stranger("eve")?;
    eve.klctl(&["devices"])?.refused(1, "profile")?;
    let at_home =
        |command: &mut Command| Said::by(command.env_remove("KLNET_PROFILE").env("HOME", "/nowhere"));
    at_home(eve.command("klctl")?.arg("devices"))?.refused(1, "klctl login")?;
    at_home(eve.command("klsctunnel")?.args(["stdio", "web-7:22"]))?.refused(1, "klctl login")?;

    // Somebody of another fabric is nobody here, whatever they call themselves.
    let Some(other) = Lab::or_skip("other") else { return Ok(()) };
    let other = Fleet::new(&other)?;
    let elsewhere = other.admin().profile();
    let said = Said::by(eve.command("klctl")?.arg("devices").arg("--profile").arg(elsewhere))?;
    ensure!(said.code != 0 && !said.stderr.is_empty(), "{said:?}");
    Ok(())
}

/// Opens a connection, has it cut by a command, and insists on the second.
fn cut_by(fleet: &Fleet, tunnel: &Tunnel, command: &[&str]) -> Result<()> {
    let mut open = tunnel.connect()?;
    open.write_all(b"x")?;
    open.read_exact(&mut [0])?;
    let begun = Instant::now();
    let watching = std::thread::spawn(move || (open.read(&mut [0]).unwrap_or(0), Instant::now()));
    fleet.admin().klctl(command)?.ok()?;
    let (read, cut) = watching.join().expect("the watcher does not panic");
    let took = cut.saturating_duration_since(begun);
    println!("{}: cut {took:?} after the command began", command.join(" "));
    assert_eq!(read, 0);
    ensure!(took <= Duration::from_secs(1), "{command:?} took {took:?}");
    assert_eq!(tunnel.wait_for_event("closed", 0, PATIENCE)?["reason"], "cut");
    Ok(())
}

fn round_trip(tunnel: &Tunnel) -> Result<()> {
    let mut stream = tunnel.connect()?;
    stream.write_all(b"hello")?;
    let mut back = [0; 5];
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"hello");
    Ok(())
}

fn explains(check: &Said, words: &[&str]) -> Result<()> {
    ensure!(check.code == 1, "{check:?}");
    for words in words {
        ensure!(check.stdout.contains(words), "{words:?} is not in: {}", check.stdout);
    }
    Ok(())
}

fn number(value: &Value) -> Result<u64> {
    value.as_str().and_then(|text| text.parse().ok()).with_context(|| format!("no number: {value}"))
}
