//! Splits a plan by where its addresses are reached: each part has one interface, one source and one next hop.

use std::net::IpAddr;

use super::linux::resolution;
use super::route::{Interface, Routes};
use crate::plan::Plan;
use crate::range::Range;
use crate::resolution::Resolution;

/// Addresses that are reached the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) plan: Plan,
    pub(super) interface: Interface,
    pub(super) source: IpAddr,
    /// None where the hosts are on the link itself.
    pub(super) gateway: Option<IpAddr>,
}

impl Segment {
    /// How the kernel looks for those of the segment, where it has to: beyond a router, and where there are no cards, it
    /// needs to find nobody.
    pub(super) fn resolution(&self) -> Option<Resolution> {
        let is_on_link = self.gateway.is_none() && self.interface.mac.is_some();
        is_on_link.then(|| resolution(&self.interface.name, self.source.is_ipv4()))
    }
}

/// A plan, split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) segments: Vec<Segment>,
    /// Own addresses that are in the plan: nobody has to be asked.
    pub(super) own: Vec<(IpAddr, Interface)>,
    /// What nothing leads to.
    pub(super) unreachable: Vec<Range>,
}

/// Splits a plan by the most specific routes.
pub(super) fn split(plan: &Plan, routes: &Routes) -> Split {
    let mut split = Split::default();
    let mut left = Some(plan.clone());
    for interface in routes.interfaces.values() {
        for (own, bits) in &interface.addresses {
            if plan.index(*own).is_some() {
                split.own.push((*own, interface.clone()));
            }
            for host in [Some(*own)].into_iter().chain(not_hosts(*own, *bits)).flatten() {
                left = left.and_then(|plan| plan.without(&Range::new(host, host)?));
            }
        }
    }
    let mut ordered = routes.routes.clone();
    ordered.sort_by_key(|route| (std::cmp::Reverse(route.bits), route.metric));
    for route in ordered {
        let Some(part) = left.as_ref().and_then(|left| left.inside(&route.range)) else { continue };
        left = left.and_then(|left| left.without(&route.range));
        match segment(part, &route, routes) {
            Ok(segment) => split.segments.push(segment),
            Err(part) => split.unreachable.extend(part.ranges()),
        }
    }
    split.unreachable.extend(left.iter().flat_map(Plan::ranges));
    split.own.sort_by_key(|(own, _)| *own);
    split
}

fn segment(plan: Plan, route: &super::route::Route, routes: &Routes) -> Result<Segment, Plan> {
    let Some(way) = route.way else { return Err(plan) };
    let Some(interface) = routes.interfaces.get(&way.interface) else { return Err(plan) };
    let next = way.gateway.unwrap_or(plan.address(0));
    let of_family = interface.addresses.iter().filter(|(own, _)| own.is_ipv4() == next.is_ipv4());
    // The address that is on the link of the next hop; any other only when there is none.
    let nearest = of_family.max_by_key(|(own, bits)| Range::subnet(*own, *bits).contains(next));
    match way.source.or(nearest.map(|(own, _)| *own)) {
        Some(source) => Ok(Segment { plan, interface: interface.clone(), source, gateway: way.gateway }),
        None => Err(plan),
    }
}

/// The network and broadcast addresses around an own IPv4 address: to ask them would be to ask everybody at once.
fn not_hosts(own: IpAddr, bits: u8) -> [Option<IpAddr>; 2] {
    let around = Range::subnet(own, bits);
    match own.is_ipv4() && bits <= 30 {
        true => [Some(around.first()), Some(around.last())],
        false => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::{Route, Way};
    use super::*;
    use crate::mac::Mac;

    #[test]
    fn a_plan_is_split_by_the_most_specific_route() {
        let split = split(&plan(&["10.0.0.0/14"]), &routes());
        let shown: Vec<_> = split.segments.iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                "10.1.0.2-10.1.0.254 from 10.1.0.1 on the link",
                "10.2.0.0/16 from 10.1.0.1 by 10.1.0.254",
                "10.0.0.0/16 10.1.1.0-10.1.255.255 10.3.0.0-10.3.6.255 10.3.8.0-10.3.255.255 from 10.1.0.1 by 10.1.0.253",
            ]
        );
        assert_eq!(split.own.iter().map(|(own, _)| own.to_string()).collect::<Vec<_>>(), ["10.1.0.1"]);
        assert_eq!(split.unreachable.iter().map(Range::to_string).collect::<Vec<_>>(), ["10.3.7.0/24"]);
    }

    #[test]
    fn broadcast_addresses_of_own_networks_are_never_asked() {
        let split = split(&plan(&["10.1.0.0/24"]), &routes());
        let asked = &split.segments[0].plan;
        for address in ["10.1.0.0", "10.1.0.1", "10.1.0.255"] {
            assert_eq!(asked.index(address.parse().unwrap()), None, "{address}");
        }
        assert_eq!(asked.len(), 253);
    }

    #[test]
    fn without_a_route_nothing_is_reachable() {
        let split = split(&plan(&["192.0.2.0/24"]), &Routes::default());
        assert_eq!((split.segments.len(), split.unreachable.len()), (0, 1));
    }

    fn shown(segment: &Segment) -> String {
        let ranges: Vec<_> = segment.plan.ranges().map(|range| range.to_string()).collect();
        let by = segment.gateway.map_or("on the link".to_owned(), |gateway| format!("by {gateway}"));
        format!("{} from {} {by}", ranges.join(" "), segment.source)
    }

    fn routes() -> Routes {
        let way = |gateway: Option<&str>| {
            Some(Way { interface: 2, gateway: gateway.map(|g| g.parse().unwrap()), source: None })
        };
        let route = |range: &str, bits, way| Route { range: range.parse().unwrap(), bits, metric: 0, way };
        let everything = Range::subnet([0, 0, 0, 0].into(), 0);
        let interface = Interface {
            index: 2,
            name: "eth0".into(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            addresses: vec![([10, 1, 0, 1].into(), 24)],
        };
        Routes {
            routes: vec![
                Route { range: everything, bits: 0, metric: 0, way: way(Some("10.1.0.253")) },
                route("10.1.0.0/24", 24, way(None)),
                route("10.2.0.0/16", 16, way(Some("10.1.0.254"))),
                route("10.3.7.0/24", 24, None),
            ],
            interfaces: [(2, interface)].into(),
        }
    }

    fn plan(ranges: &[&str]) -> Plan {
        let ranges: Vec<_> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Plan::new(&ranges, &[]).unwrap()
    }
}
