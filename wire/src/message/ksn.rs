//! Messages of a device about its KSN proxy.

/// How a device's KSN proxy stands; told when it starts, now and then, and in each session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KsnState {
    /// Why it does not run; empty while it does.
    #[prost(string, tag = "1")]
    pub error: String,
    /// Its TCP port.
    #[prost(uint32, tag = "2")]
    pub tcp_port: u32,
    /// Its UDP port.
    #[prost(uint32, tag = "3")]
    pub udp_port: u32,
    /// Its HTTPS port; 0 without.
    #[prost(uint32, tag = "4")]
    pub https_port: u32,
    /// What it has counted since it started.
    #[prost(message, optional, tag = "5")]
    pub counts: Option<KsnCounts>,
}

/// What a KSN proxy counts.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct KsnCounts {
    /// Records in its cache now.
    #[prost(uint64, tag = "1")]
    pub records: u64,
    /// Keys that were asked about.
    #[prost(uint64, tag = "2")]
    pub received: u64,
    /// Of them, answered from the cache or a snapshot.
    #[prost(uint64, tag = "3")]
    pub served: u64,
    /// Not asked upstream because too many were waiting.
    #[prost(uint64, tag = "4")]
    pub rejected_full: u64,
    /// Not answered before the asker's patience was over.
    #[prost(uint64, tag = "5")]
    pub rejected_late: u64,
    /// Asked upstream, each once for all who wait for it.
    #[prost(uint64, tag = "6")]
    pub forwarded: u64,
    /// Of them, not answered.
    #[prost(uint64, tag = "7")]
    pub failed: u64,
    /// Of them, answered.
    #[prost(uint64, tag = "8")]
    pub succeeded: u64,
}
