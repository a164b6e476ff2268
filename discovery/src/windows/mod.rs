//! What Windows machines, and Samba, say of themselves to everybody: names, domain, version. No credential is sent.
//!
//! | module | asks | over | learns |
//! |---|---|---|---|
//! | [`nbns`] | node status (RFC 1002, 4.2.17) | UDP 137 | NetBIOS names, card |
//! | [`smb`], [`ntlm`] | negotiation and the server's challenge | TCP 445 | NetBIOS and DNS names, domain, build |
//! | [`wsd`] | probe (WS-Discovery 1.1) | UDP 3702, multicast | that it is there, its endpoint |
//! | [`llmnr`](crate::dns::llmnr) | its name, other addresses (RFC 4795) | UDP 5355, multicast | names and addresses of who is known |

pub mod nbns;
pub mod ntlm;
pub mod smb;
pub mod wsd;
