//! The arguments of `klserver up`; what it does is the business of `crate::up`.

use std::path::PathBuf;

use clap::Args;

/// What `klserver up` is asked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Up {
    /// Where everything is kept between runs [default: ~/.local/state/klnet/up]
    #[arg(long, value_name = "DIR", conflicts_with = "once")]
    pub state: Option<PathBuf>,
    /// Do everything once in a temporary folder on free ports, print a report, and end
    #[arg(long)]
    pub once: bool,
    /// Name of the managed device
    #[arg(long, value_name = "NAME", default_value = "demo")]
    pub device: String,
}

const EXAMPLES: &str = "\
Examples:
  klserver up            until Ctrl-C; the next run goes on where this one ended
  klserver up --once     prove that everything works here, and clean up";
