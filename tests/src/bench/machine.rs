//! Where a benchmark ran; without this no figure means anything.

/// Cores, processor, kernel and load, in one line.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = read("/proc/cpuinfo", |text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        line.split_once(':').map(|(_, name)| name.trim().to_owned())
    });
    let kernel = read("/proc/sys/kernel/osrelease", |text| Some(text.trim().to_owned()));
    let load = read("/proc/loadavg", |text| text.split_whitespace().next().map(str::to_owned));
    format!("{cores} cores ({processor}), Linux {kernel}, load {load} at the end")
}

fn read(path: &str, pick: impl FnOnce(&str) -> Option<String>) -> String {
    std::fs::read_to_string(path).ok().and_then(|text| pick(&text)).unwrap_or_else(|| "unknown".to_owned())
}
