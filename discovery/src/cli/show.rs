//! How results are shown, as the command line says it.

/// How results are shown.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Show {
    /// Print one JSON object per line for every host
    #[arg(long, group = "format")]
    pub(super) json: bool,

    /// Print comma-separated values, a line for every address
    #[arg(long, group = "format")]
    pub(super) csv: bool,

    /// Print XML as nmap does
    #[arg(long, group = "format")]
    pub(super) xml: bool,

    /// Print no progress and no advice
    #[arg(long, short)]
    pub(super) quiet: bool,
}
