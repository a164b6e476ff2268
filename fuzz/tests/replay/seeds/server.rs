//! Seeds of what the server reads.

use klnet_server::invitation::Invitation;

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let (name, url) = ("anna".to_owned(), "https://klnet.example.org".to_owned());
    let invitation = Invitation { root: [1; 32], secret: [2; 32].into(), name, url }.print();
    vec![
        ("invitation", "text", invitation.into_bytes()),
        ("invitation", "bytes", [&[0x0a, 32][..], &[1; 32], &[0x12, 32], &[2; 32], b"\x1a\x04anna"].concat()),
        ("config", "empty", Vec::new()),
        ("config", "full", CONFIG.as_bytes().to_vec()),
        ("config", "mistakes", b"bind = 'x'\nagent_ports = '9-1'\nheartbeat_min = '5'\nhosts = []".to_vec()),
        ("units", "duration", b"1500ms".to_vec()),
        ("units", "rate", b"100Mbit/s".to_vec()),
        ("units", "ports", b"23100-23107".to_vec()),
        ("key", "join", b"devices\n42\nname".to_vec()),
        ("key", "longest", vec![b'k'; 512]),
    ]
}

const CONFIG: &str = r#"
state = "state"
hosts = ["klnet.example.org"]
bind = "::"
https_port = 8443
agent_ports = "23100-23107"
tunnel_ports = "29200-29299"
metrics = "127.0.0.1:9100"
heartbeat_min = "30s"
heartbeat_max = "15m"
reconnect_window = "2s"
tunnel_session = "8h"
tunnel_idle = "30m"
drain_timeout = "30s"
splice = true
[limits]
grants_per_device = 8
connections_per_tenant = 100
tenant_rate = "1Gbit/s"
"#;
