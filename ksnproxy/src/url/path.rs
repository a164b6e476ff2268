//! Which file a path means.

/// Takes out `.`, `..` and doubled slashes; the result begins with `/`.
pub(super) fn resolve(path: &[u8]) -> Vec<u8> {
    let mut resolved = Vec::with_capacity(path.len() + 1);
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => drop_last(&mut resolved),
            name => {
                resolved.push(b'/');
                resolved.extend_from_slice(name);
                if last {
                    return resolved;
                }
            }
        }
    }
    resolved.push(b'/');
    resolved
}

fn drop_last(resolved: &mut Vec<u8>) {
    let slash = memchr::memrchr(b'/', resolved).unwrap_or(0);
    resolved.truncate(slash);
}
