//! What a device holds once it was let in: a connection to each port, and a ticket.

use anyhow::Result;
use klnet_ksnproxy::net::client::{Datagrams, Secure};
use klnet_tests::fleet::Device;
use klnet_wire::id::DeviceId;
use klnet_wire::identity::state::State;
use klnet_wire::identity::tls::{ALPN_HTTP, device_config};
use klnet_wire::net::dial::dial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::client::TlsStream;

use super::datagram::key;
use super::site::{Site, id};

/// Connections of one device, on which it asks again and again.
pub(crate) struct Held {
    runtime: Runtime,
    open: Open,
}

struct Open {
    tls: Secure,
    datagrams: Datagrams,
    https: TlsStream<TcpStream>,
    server: Secure,
}

impl Held {
    /// Connects a device to proxy and reputation server, and takes a ticket.
    pub(crate) fn of(device: &Device, site: &Site) -> Result<Self> {
        let State { identity, trust, .. } = State::read(device.state())?;
        let (nas, cloud): (DeviceId, DeviceId) = (id(&site.nas)?.parse()?, id(&site.cloud)?.parse()?);
        let (proxy, server) =
            (site.nas.host().address().to_string(), site.cloud.host().address().to_string());
        let tls = |device, alpn: &[&[u8]]| device_config(&identity, trust.clone(), None, device, alpn);
        device.host().inside(|| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let open = runtime.block_on(async {
                let mut secure = Secure::with_tls(&proxy, 13111, tls(nas, &[])?).await?;
                let ticket = secure.ticket().await?;
                anyhow::Ok(Open {
                    tls: secure,
                    datagrams: Datagrams::connect(&proxy, 15111, Some(ticket)).await?,
                    https: dial(&proxy, 17111, tls(nas, &[ALPN_HTTP])?).await?.0,
                    server: Secure::with_tls(&server, 1443, tls(cloud, &[])?).await?,
                })
            })?;
            Ok(Self { runtime, open })
        })?
    }

    /// On which ports it is still answered.
    pub(crate) fn answered(&mut self) -> Vec<u16> {
        let Self { runtime, open } = self;
        runtime.block_on(async {
            let answered = [
                (13111, open.tls.query(&[key(1)]).await.is_ok()),
                (15111, open.datagrams.query(&[key(1)]).await.is_ok()),
                (17111, is_answered(&mut open.https).await),
                (1443, open.server.query(&[key(1)]).await.is_ok()),
            ];
            answered.into_iter().filter(|(_, is)| *is).map(|(port, _)| port).collect()
        })
    }
}

/// Whatever is answered to this, the connection is there.
async fn is_answered(https: &mut TlsStream<TcpStream>) -> bool {
    let request = b"GET /v1/verdict/192.0.2.7 HTTP/1.1\r\nHost: proxy\r\n\r\n";
    let mut answer = [0; 4096];
    https.write_all(request).await.is_ok() && https.read(&mut answer).await.is_ok_and(|length| length > 0)
}

/// Every port on which a device can be answered.
pub(crate) const ALL: [u16; 4] = [13111, 15111, 17111, 1443];
