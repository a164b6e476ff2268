//! `klpoll watch` between network namespaces: it polls again and again, and prints what is different.

mod field;

use std::time::Duration;

use anyhow::{Result, ensure};
use field::Field;
use klnet_tests::lab::Process;
use klnet_tests::program;

#[test]
fn what_comes_and_what_changes_is_printed_once() -> Result<()> {
    let Some(field) = Field::or_skip("watch")? else { return Ok(()) };
    field.on_link("10.89.0.254/24", &["10.89.0.16/28"])?;
    let mut command = field.poller.command(program("klpoll")?);
    command.args(["watch", "10.89.0.0/24", "--profile", "lan", "--json", "--every", "range=1s"]);
    for other in ["windows=never", "full=never", "zeroconf=never"] {
        command.args(["--every", other]);
    }
    let mut watch = Process::spawn("klpoll", &mut command)?;
    let new = watch.wait_for_line("10.89.0.31", Duration::from_secs(20))?;
    ensure!(new.contains("\"change\":\"new\""), "{new}");
    field.crowd.ip("route add local 10.89.0.77/32 dev lo")?;
    let changed = watch.wait_for_line("10.89.0.77", Duration::from_secs(20))?;
    ensure!(changed.contains("\"change\":\"changed\"") && changed.contains("10.89.0.31"), "{changed}");
    let status = watch.terminate(Duration::from_secs(5))?;
    ensure!(status.success(), "{status}");
    // The poller itself, the crowd, and the crowd with one more address.
    let lines = watch.output()?.lines().filter(|line| line.starts_with('{')).count();
    ensure!(lines == 3, "{}", watch.output()?);
    Ok(())
}
