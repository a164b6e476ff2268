//! `klpoll` between network namespaces: what it finds is compared with what is there.

mod field;

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use field::{Field, Polled, addresses, every_fifth, slices};
use klnet_tests::lab::{Process, wait_until};
use klnet_tests::{need_programs, program};

#[test]
fn every_host_behind_a_router_is_found_and_nothing_else() -> Result<()> {
    let Some(field) = Field::or_skip("routed")? else { return Ok(()) };
    let answering = every_fifth("10.88");
    field.routed("10.88.0.0/20", &slices(&answering))?;
    let polled = field.klpoll(&["range", "10.88.0.0/20", "--profile", "lan", "--names", "none", "--csv"])?;
    ensure!(polled.addresses()? == addresses(&slices(&answering))?, "{}", polled.err);
    ensure!(polled.err.is_empty(), "{}", polled.err);
    Ok(())
}

#[test]
fn every_host_on_the_link_is_found_with_its_card() -> Result<()> {
    let Some(field) = Field::or_skip("on-link")? else { return Ok(()) };
    let answering = every_fifth("10.89");
    field.on_link("10.89.15.254/20", &slices(&answering))?;
    let polled = field.klpoll(&["range", "10.89.0.0/20", "--profile", "lan", "--names", "none", "--csv"])?;
    let mut expected = addresses(&slices(&answering))?;
    expected.insert("10.89.15.254".parse()?);
    ensure!(polled.addresses()? == expected, "{}", polled.err);
    let macs: BTreeSet<_> = polled.out.lines().skip(1).filter_map(|line| line.split(',').nth(2)).collect();
    ensure!(macs.len() == 2, "the crowd's card and our own: {macs:?}");
    // Not one of them went through the kernel's own table.
    ensure!(field.poller.ip("neigh show")?.lines().count() <= 1);
    Ok(())
}

#[test]
fn neighbours_and_hosts_behind_routers_are_found_by_ipv6() -> Result<()> {
    let Some(field) = Field::or_skip("v6")? else { return Ok(()) };
    field.poller.ip("addr add fd00:88::1/120 dev eth0 nodad")?;
    for last in ["2", "77", "fe"] {
        field.crowd.ip(&format!("addr add fd00:88::{last}/120 dev eth0 nodad"))?;
    }
    field.poller.ip("route add fd00:99::/96 via fd00:88::2")?;
    field.crowd.ip("route add local fd00:99::7:0/124 dev lo")?;
    let arguments =
        ["range", "fd00:88::/120", "fd00:99::7:0/120", "--profile", "lan", "--names", "none", "--csv"];
    let found = field.klpoll(&arguments)?.addresses()?;
    let neighbours = ["fd00:88::1", "fd00:88::2", "fd00:88::77", "fd00:88::fe"];
    ensure!(neighbours.iter().all(|host| host.parse().is_ok_and(|host| found.contains(&host))), "{found:?}");
    ensure!(found.len() == neighbours.len() + 16, "{found:?}");
    Ok(())
}

#[test]
fn a_fifth_of_all_packets_lost_costs_time_and_no_hosts() -> Result<()> {
    let Some(field) = Field::or_skip("loss")? else { return Ok(()) };
    let answering = every_fifth("10.88");
    field.routed("10.88.0.0/20", &slices(&answering))?;
    let loss = field.crowd.loss(200)?;
    let polled = field.klpoll(&["range", "10.88.0.0/20", "--profile", "lan", "--names", "none", "--csv"])?;
    let (found, truth) = (polled.addresses()?, addresses(&slices(&answering))?);
    ensure!(found.is_subset(&truth));
    ensure!(truth.len() - found.len() <= 1, "{} of {} found", found.len(), truth.len());
    ensure!(loss.lost()? * 10 > loss.seen()?, "there was loss: {} of {}", loss.lost()?, loss.seen()?);
    Ok(())
}

#[test]
fn politely_no_10_ms_on_the_wire_see_more_than_20_packets() -> Result<()> {
    if !need_programs(&["tcpdump"]) {
        return Ok(());
    }
    let Some(field) = Field::or_skip("polite")? else { return Ok(()) };
    field.on_link("10.89.3.254/22", &["10.89.0.0/26"])?;
    let arguments = ["range", "10.89.0.0/22", "--names", "none", "--csv"];
    let (polled, packets) = captured(&field, || field.klpoll(&arguments))?;
    ensure!(polled.addresses()?.len() == 64, "63 of the crowd, for the network itself is nobody, and ours");
    ensure!(packets.len() > 1_900, "{} packets were seen", packets.len());
    are_polite(&packets)
}

#[test]
fn politely_the_kernel_sends_no_more_than_that_for_a_user_without_privileges() -> Result<()> {
    if !need_programs(&["tcpdump"]) {
        return Ok(());
    }
    let Some(field) = Field::or_skip("gently")? else { return Ok(()) };
    field.on_link("10.89.1.254/23", &["10.89.0.0/26"])?;
    field.poller.run("sysctl", &["-qw", "net.ipv4.ping_group_range=0 2147483647"])?;
    let arguments = ["range", "10.89.0.0/23", "--names", "none", "--csv"];
    let (polled, packets) = captured(&field, || nobody(&field, &arguments))?;
    ensure!(polled.addresses()?.len() == 64, "{}", polled.err);
    ensure!(packets.len() > 900, "{} packets were seen", packets.len());
    are_polite(&packets)
}

#[test]
fn nothing_is_sent_outside_the_ranges_and_nothing_to_what_is_excluded() -> Result<()> {
    let Some(field) = Field::or_skip("outside")? else { return Ok(()) };
    field.routed("10.88.0.0/16", &["10.88.0.0/22"])?;
    field.crowd.run("nft", &["add table ip seen; add chain ip seen in { type filter hook prerouting priority -400; }; add rule ip seen in ip daddr 10.88.0.0/16 ip daddr != { 10.88.1.0-10.88.1.127, 10.88.1.192-10.88.1.255 } counter"])?;
    let polled = field.klpoll(&[
        "range",
        "10.88.1.0/24",
        "--exclude",
        "10.88.1.128/26",
        "--profile",
        "lan",
        "--names",
        "none",
        "--csv",
    ])?;
    ensure!(polled.addresses()?.len() == 192);
    let counted = field.crowd.run("nft", &["list", "table", "ip", "seen"])?;
    ensure!(counted.contains("counter packets 0 "), "{counted}");
    Ok(())
}

#[test]
fn a_network_that_answers_for_everybody_has_no_hosts() -> Result<()> {
    let Some(field) = Field::or_skip("proxy")? else { return Ok(()) };
    field.on_link("10.90.0.254/22", &["10.90.1.0/24"])?;
    let polled = field.klpoll(&["range", "10.90.0.0/22", "--profile", "lan", "--names", "none", "--csv"])?;
    ensure!(polled.addresses()?.len() == 1, "only the poller itself: {}", polled.out);
    ensure!(polled.err.contains("256 addresses from 10.90.1.0 on do not count: proxy-arp"), "{}", polled.err);
    Ok(())
}

#[test]
fn a_firewall_that_accepts_every_connection_makes_no_hosts() -> Result<()> {
    let Some(field) = Field::or_skip("syn-proxy")? else { return Ok(()) };
    field.routed("10.88.0.0/24", &["10.88.0.0/24"])?;
    let silent = "add table ip quiet; add chain ip quiet in { type filter hook input priority 0; }; \
                  add rule ip quiet in icmp type echo-request drop";
    field.crowd.run("nft", &[silent])?;
    let _accepting = field.crowd.inside(|| TcpListener::bind("0.0.0.0:443"))??;
    let arguments = ["range", "10.88.0.0/24", "--profile", "lan", "--tcp", "443", "--names", "none", "--csv"];
    let polled = field.klpoll(&arguments)?;
    ensure!(polled.addresses()?.is_empty(), "{}", polled.out);
    ensure!(polled.err.contains("256 addresses from 10.88.0.0 on do not count: syn-proxy"), "{}", polled.err);
    Ok(())
}

#[test]
fn a_firewall_that_accepts_at_every_port_is_known_by_a_few_addresses() -> Result<()> {
    let Some(field) = Field::or_skip("canary")? else { return Ok(()) };
    field.routed("10.88.0.0/24", &["10.88.0.16/29"])?;
    let accepts_all = "add table ip proxy; add chain ip proxy in { type nat hook prerouting priority 0; }; \
                       add rule ip proxy in ip daddr 10.88.0.16/30 meta l4proto tcp redirect to :443; \
                       add chain ip proxy quiet { type filter hook input priority 0; }; \
                       add rule ip proxy quiet icmp type echo-request drop";
    field.crowd.run("nft", &[accepts_all])?;
    let _accepting = field.crowd.inside(|| TcpListener::bind("0.0.0.0:443"))??;
    let arguments =
        ["range", "10.88.0.16/29", "--profile", "lan", "--tcp", "443", "--names", "none", "--csv"];
    let polled = field.klpoll(&arguments)?;
    ensure!(
        polled.addresses()? == addresses(&["10.88.0.20/30"])?,
        "hosts refuse at other ports: {}",
        polled.out
    );
    ensure!(polled.err.contains("4 addresses from 10.88.0.16 on do not count: syn-proxy"), "{}", polled.err);
    Ok(())
}

#[test]
fn a_user_without_privileges_finds_hosts_and_is_told_what_could_not_be_used() -> Result<()> {
    let Some(field) = Field::or_skip("plain")? else { return Ok(()) };
    let answering = every_fifth("10.88");
    field.routed("10.88.0.0/20", &slices(&answering))?;
    field.poller.run("sysctl", &["-qw", "net.ipv4.ping_group_range=0 2147483647"])?;
    let polled = nobody(&field, &["range", "10.88.0.0/20", "--profile", "lan", "--names", "none", "--csv"])?;
    ensure!(polled.addresses()? == addresses(&slices(&answering))?, "{}", polled.err);
    ensure!(polled.err.contains("packet sockets cannot be used"), "{}", polled.err);
    Ok(())
}

#[test]
fn a_user_without_privileges_finds_neighbours_with_their_cards_also_those_that_answer_no_ping() -> Result<()>
{
    let Some(field) = Field::or_skip("kernel")? else { return Ok(()) };
    field.on_link("10.89.0.254/24", &["10.89.0.16/28", "10.89.0.64/28"])?;
    field.poller.run("sysctl", &["-qw", "net.ipv4.ping_group_range=0 2147483647"])?;
    let deaf = "add table ip deaf; add chain ip deaf in { type filter hook input priority 0; }; \
                add rule ip deaf in ip daddr 10.89.0.64/28 icmp type echo-request drop";
    field.crowd.run("nft", &[deaf])?;
    let polled = nobody(&field, &["range", "10.89.0.0/24", "--profile", "lan", "--names", "none", "--csv"])?;
    let expected = addresses(&["10.89.0.16/28", "10.89.0.64/28", "10.89.0.254"])?;
    ensure!(polled.addresses()? == expected, "{} {}", polled.out, polled.err);
    let macs: BTreeSet<_> = polled.out.lines().skip(1).filter_map(|line| line.split(',').nth(2)).collect();
    ensure!(macs.len() == 2 && !macs.contains(""), "the crowd's card and our own: {macs:?}");
    Ok(())
}

#[test]
fn a_user_without_privileges_finds_more_neighbours_than_the_kernel_looks_for_at_once() -> Result<()> {
    let Some(field) = Field::or_skip("table")? else { return Ok(()) };
    let answering = every_fifth("10.89");
    field.on_link("10.89.15.254/20", &slices(&answering))?;
    field.poller.run("sysctl", &["-qw", "net.ipv4.ping_group_range=0 2147483647"])?;
    let loss = field.crowd.loss(100)?;
    let polled = nobody(&field, &["range", "10.89.0.0/21", "--profile", "max", "--names", "none", "--csv"])?;
    let truth = addresses(&slices(&answering))?;
    let truth: BTreeSet<_> = truth.into_iter().filter(|address| in_the_first_21(*address)).collect();
    let found = polled.addresses()?;
    ensure!(found.is_subset(&truth) && truth.len() - found.len() <= 1, "{} of {}", found.len(), truth.len());
    ensure!(loss.lost()? > 0, "there was loss");
    Ok(())
}

#[test]
fn who_may_not_even_ping_knocks() -> Result<()> {
    let Some(field) = Field::or_skip("knock")? else { return Ok(()) };
    field.routed("10.88.0.0/24", &["10.88.0.16/28"])?;
    let polled = nobody(&field, &["range", "10.88.0.0/25", "--profile", "lan", "--names", "none", "--csv"])?;
    ensure!(polled.addresses()? == addresses(&["10.88.0.16/28"])?, "{}", polled.err);
    ensure!(polled.err.contains("ping sockets cannot be used"), "{}", polled.err);
    Ok(())
}

#[test]
fn the_opener_hands_sockets_to_a_user_without_privileges() -> Result<()> {
    if !need_programs(&["setcap", "setpriv"]) {
        return Ok(());
    }
    let Some(field) = Field::or_skip("opener")? else { return Ok(()) };
    field.on_link("10.89.0.254/24", &["10.89.0.16/28"])?;
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    for name in ["klpoll", "klpoll-open"] {
        std::fs::copy(program(name)?, folder.path().join(name)).context(name)?;
    }
    let opener = folder.path().join("klpoll-open");
    field.poller.run("setcap", &["cap_net_raw+ep", &opener.to_string_lossy()])?;
    let mut command = field.poller.command("setpriv");
    command.args(NOBODY).arg(folder.path().join("klpoll"));
    let polled = Polled::of(command.args(["range", "10.89.0.0/24", "--names", "none", "--csv"]))?;
    ensure!(polled.addresses()?.len() == 17, "{}", polled.err);
    ensure!(polled.err.is_empty(), "{}", polled.err);
    Ok(())
}

#[test]
fn a_poll_of_a_slash_8_keeps_16_mib_at_most() -> Result<()> {
    let Some(field) = Field::or_skip("eight")? else { return Ok(()) };
    field.routed("172.0.0.0/8", &["172.16.0.0/28"])?;
    let count = "add table ip seen; add chain ip seen in { type filter hook prerouting priority -400; }; \
                 add rule ip seen in ip daddr 172.0.0.0/8 counter";
    field.crowd.run("nft", &[count])?;
    let mut poll = field.poller.command(program("klpoll")?);
    poll.args(["range", "172.0.0.0/8", "--yes", "--profile", "lan", "--names", "none", "--csv"]);
    let mut poll = Process::spawn("klpoll", &mut poll)?;
    let many = || {
        let counted = field.crowd.run("nft", &["list", "table", "ip", "seen"])?;
        let packets = counted.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        Ok(packets.and_then(|count| count.parse::<u32>().ok()).filter(|count| *count > 10_000))
    };
    wait_until(Duration::from_secs(60), many)?.context("it does not ask")?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", poll.id()))?;
    // Of the program itself, which a debug build makes large, as much as is used is in memory too.
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    let kib: u32 = own.trim().trim_end_matches(" kB").parse()?;
    ensure!(kib <= 16 << 10, "{kib} KiB");
    poll.terminate(Duration::from_secs(5))?;
    Ok(())
}

#[test]
fn mistakes_are_refused_by_name_before_anything_is_sent() -> Result<()> {
    let Some(field) = Field::or_skip("mistakes")? else { return Ok(()) };
    let refused = |arguments: &[&str], code: i32, why: &str| -> Result<()> {
        let polled = field.klpoll(&[&["range"], arguments].concat())?;
        ensure!(polled.code == Some(code) && polled.err.contains(why), "{:?}: {}", polled.code, polled.err);
        Ok(())
    };
    refused(&["10.1.0.0/16", "10.1.5.0-10.1.5.9"], 2, "10.1.0.0/16 and 10.1.5.0-10.1.5.9 overlap in")?;
    refused(&["10.1.0.7/16"], 2, "write 10.1.0.0/16 for the whole of it")?;
    refused(&["10.0.0.0/15"], 2, "add --yes when all of them are meant")?;
    refused(&["192.0.2.0/24"], 4, "there is no route to 192.0.2.0/24")
}

#[test]
fn hosts_have_the_names_of_the_name_server_and_the_table_fits_80_columns() -> Result<()> {
    if !need_programs(&["dnsmasq"]) {
        return Ok(());
    }
    let Some(field) = Field::or_skip("names")? else { return Ok(()) };
    field.routed("10.88.0.0/24", &["10.88.0.16/28"])?;
    let folder = tempfile::tempdir()?;
    let hosts: String = (16..32).map(|n| format!("10.88.0.{n} host-{n}.example.org\n")).collect();
    std::fs::write(folder.path().join("hosts"), hosts)?;
    let mut server = field.crowd.command("dnsmasq");
    server.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--log-facility=-",
        "--conf-file=/dev/null",
    ]);
    server.arg(format!("--addn-hosts={}", folder.path().join("hosts").display()));
    let mut server = Process::spawn("dnsmasq", &mut server)?;
    server.wait_for_line("read ", Duration::from_secs(5))?;
    let dns = field.router.to_string();
    let polled = field.klpoll(&["range", "10.88.0.0/24", "--profile", "lan", "--dns", &dns])?;
    ensure!(polled.code == Some(0), "{}", polled.err);
    ensure!(polled.out.contains("10.88.0.17  host-17.example.org"), "{}", polled.out);
    ensure!(polled.out.lines().all(|line| line.chars().count() <= 80), "{}", polled.out);
    ensure!(polled.out.ends_with("16 hosts\n"), "{}", polled.out);
    Ok(())
}

#[test]
fn an_interface_that_goes_away_is_an_error_and_not_an_empty_network() -> Result<()> {
    let Some(field) = Field::or_skip("gone")? else { return Ok(()) };
    field.on_link("10.89.3.254/22", &["10.89.0.0/26"])?;
    let mut poll = field.poller.command(program("klpoll")?);
    poll.args(["range", "10.89.0.0/22", "--profile", "gentle", "--names", "none"]);
    let mut watch = field.crowd.command("tcpdump");
    watch.args(["-i", "eth0", "-nn", "-l", "--immediate-mode", "arp"]);
    let mut watch = Process::spawn("tcpdump", &mut watch)?;
    watch.wait_for_line("listening on", Duration::from_secs(5))?;
    let mut poll = Process::spawn("klpoll", &mut poll)?;
    watch.wait_for_line("who-has", Duration::from_secs(10))?;
    field.poller.ip("link set eth0 down")?;
    let status = poll.wait(Duration::from_secs(10))?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(poll.output()?.contains("interface eth0 went away"), "{}", poll.output()?);
    Ok(())
}

/// What a poll sends of ARP and IPv4, and when, in seconds.
fn captured(field: &Field, poll: impl FnOnce() -> Result<Polled>) -> Result<(Polled, Vec<(f64, String)>)> {
    let mut capture = field.crowd.command("tcpdump");
    // What a kernel says by IPv6 when a link comes up is no part of the poll.
    capture.args(["-i", "eth0", "-nn", "-tt", "-l", "--immediate-mode", "-Q", "in", "arp or ip"]);
    let mut capture = Process::spawn("tcpdump", &mut capture)?;
    capture.wait_for_line("listening on", Duration::from_secs(5))?;
    let polled = poll()?;
    capture.terminate(Duration::from_secs(5))?;
    let packet = |line: &str| {
        let (at, what) = line.split_once(' ')?;
        Some((at.parse().ok()?, what.to_owned()))
    };
    Ok((polled, capture.output()?.lines().filter_map(packet).collect()))
}

fn are_polite(packets: &[(f64, String)]) -> Result<()> {
    let within = |first: usize| {
        let end = packets[first].0 + 0.010;
        packets[first..].iter().take_while(|(at, _)| *at < end).collect::<Vec<_>>()
    };
    let crowd = (0..packets.len()).map(within).max_by_key(Vec::len).unwrap_or_default();
    ensure!(crowd.len() <= 20, "{} packets in 10 ms: {crowd:#?}", crowd.len());
    Ok(())
}

fn in_the_first_21(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[2] < 8)
}

/// Runs `klpoll` on the poller as a user with no rights at all.
fn nobody(field: &Field, arguments: &[&str]) -> Result<Polled> {
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let klpoll = folder.path().join("klpoll");
    std::fs::copy(program("klpoll")?, &klpoll)?;
    let mut command = field.poller.command("setpriv");
    Polled::of(command.args(NOBODY).arg(klpoll).args(arguments))
}

const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
