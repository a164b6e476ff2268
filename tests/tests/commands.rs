//! The commands that the tests of whole hosts start.

use anyhow::Result;

#[test]
fn every_command_is_built_and_found() -> Result<()> {
    for name in [
        "klserver",
        "klctl",
        "klnagent",
        "klnagchk",
        "klmover",
        "klsctunnel",
        "klcast",
        "ksnproxy",
        "ksnserver",
    ] {
        assert!(klnet_tests::program(name)?.ends_with(name));
    }
    assert!(klnet_tests::program("klnosuch").is_err());
    Ok(())
}
