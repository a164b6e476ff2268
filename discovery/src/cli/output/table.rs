//! A table without lines, for people; it fits a terminal of 80 columns.

use std::time::Duration;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

use super::{first, sources};
use crate::fact::NameKind;
use crate::inventory::Host;

/// One line for each host, and a last one that counts them.
pub(super) fn table(hosts: &[&Host]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let rows: Vec<Row> = hosts.iter().map(|host| row(host)).collect();
    let shown = shown(&rows, table.width().map(usize::from));
    table.set_header(shown.iter().map(|n| HEAD[*n]));
    for row in &rows {
        table.add_row(shown.iter().map(|n| row[*n].as_deref().unwrap_or("-")));
    }
    for (column, n) in table.column_iter_mut().zip(&shown) {
        column.set_padding((0, 2));
        if WHOLE.contains(n) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let count = format!("{} host{}", hosts.len(), if hosts.len() == 1 { "" } else { "s" });
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let lines: Vec<_> = if hosts.is_empty() { vec![] } else { lines.collect() };
    lines.into_iter().chain([count]).map(|line| line + "\n").collect()
}

/// What nobody has takes no room, and where a terminal is narrow what says least about a host makes room for the rest.
fn shown(rows: &[Row], width: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..COLUMNS).filter(|n| rows.iter().any(|row| row[*n].is_some())).collect();
    let widest = |n: &usize| {
        let cells = rows.iter().filter_map(|row| row[*n].as_ref()).map(|cell| cell.chars().count());
        cells.chain([HEAD[*n].len()]).max().unwrap_or_default() + 2
    };
    for least in LEAST {
        if width.is_some_and(|width| shown.iter().map(widest).sum::<usize>() > width) {
            shown.retain(|n| *n != least);
        }
    }
    shown
}

type Row = [Option<String>; COLUMNS];

fn row(host: &Host) -> Row {
    let address = first(host).map(|first| match host.addresses.len() {
        1 => first.to_string(),
        more => format!("{first} +{}", more - 1),
    });
    let domain = host.names.keys().find(|(kind, _)| *kind == NameKind::Domain);
    let mut kinds: Vec<&str> =
        host.services.iter().filter_map(|service| service.kind.as_str().split('.').next()).collect();
    // Services are in the order of their kinds.
    kinds.dedup();
    [
        address,
        host.name().map(ToString::to_string),
        domain.map(|(_, name)| name.to_string()),
        host.system.as_ref().map(|(_, system)| system.to_string()),
        (!kinds.is_empty()).then(|| kinds.join(" ")),
        host.macs.first().map(ToString::to_string),
        host.rtt.map(round_trip),
        Some(sources(host).join(" ")),
    ]
}

/// Milliseconds, with a tenth where that says more.
fn round_trip(rtt: Duration) -> String {
    let tenths = rtt.as_micros() / 100;
    match tenths {
        0..100 => format!("{}.{} ms", tenths / 10, tenths % 10),
        _ => format!("{} ms", tenths / 10),
    }
}

const COLUMNS: usize = 8;
const HEAD: [&str; COLUMNS] =
    ["ADDRESS", "NAME", "DOMAIN", "SYSTEM", "SERVICES", "HARDWARE", "RTT", "FOUND BY"];

/// Columns whose words are copied: they are never broken.
const WHOLE: [usize; 2] = [0, 5];
/// Columns that go first.
const LEAST: [usize; 2] = [6, 7];

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::fact::{Claim, Fact, Source};
    use crate::inventory::Inventory;
    use crate::mac::Mac;
    use crate::name::Text;

    #[test]
    fn a_host_is_a_line() {
        let mut inventory = Inventory::default();
        let claims = [
            Claim::Alive { rtt: Some(Duration::from_micros(340)), hops: None },
            Claim::Mac(Mac([2, 0, 0, 0, 0, 7])),
            Claim::Name(NameKind::Dns, Text::host("web-7.example.org").unwrap()),
        ];
        for claim in claims {
            let (address, source, seen) = ([10, 1, 0, 7].into(), Source::Arp, SystemTime::UNIX_EPOCH);
            inventory.learn(&Fact { address, claim, source, seen });
        }
        let hosts: Vec<_> = inventory.hosts().map(|(_, host)| host).collect();
        assert_eq!(
            table(&hosts),
            "ADDRESS   NAME               HARDWARE           RTT     FOUND BY\n\
             10.1.0.7  web-7.example.org  02:00:00:00:00:07  0.3 ms  arp\n\
             1 host\n"
        );
    }

    #[test]
    fn a_narrow_terminal_shows_what_says_most() {
        let row: Row = ["10.1.0.7", "web-7", "-", "-", "-", "02:00:00:00:00:07", "0.3 ms", "arp"]
            .map(|text| Some(text.to_owned()).filter(|text| text != "-"));
        let rows = [row];
        assert_eq!(shown(&rows, None), [0, 1, 5, 6, 7]);
        assert_eq!(shown(&rows, Some(80)), [0, 1, 5, 6, 7]);
        assert_eq!(shown(&rows, Some(50)), [0, 1, 5, 7]);
        assert_eq!(shown(&rows, Some(20)), [0, 1, 5]);
    }

    #[test]
    fn nothing_found_is_said() {
        assert_eq!(table(&[]), "0 hosts\n");
    }
}
