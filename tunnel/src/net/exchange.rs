//! GO and its answer on an inner stream: messages with their length in front, read exactly and within a deadline.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::stream::{Answer, Go, LIMIT, StreamError};

/// Reads the initiator's GO; takes no byte that follows it.
///
/// # Errors
/// [`ExchangeError`].
pub async fn read_go(stream: &mut (impl AsyncRead + Unpin), within: Duration) -> Result<Go, ExchangeError> {
    let message = read(stream, within).await?;
    let (go, _) = Go::read(&message)?.ok_or(StreamError::Malformed)?;
    Ok(go)
}

/// Reads the target's answer; takes no byte that follows it.
///
/// # Errors
/// [`ExchangeError`].
pub async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    within: Duration,
) -> Result<Answer, ExchangeError> {
    let message = read(stream, within).await?;
    let (answer, _) = Answer::read(&message)?.ok_or(StreamError::Malformed)?;
    Ok(answer)
}

/// Writes an encoded message and sees it off.
///
/// # Errors
/// [`ExchangeError`].
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
    within: Duration,
) -> Result<(), ExchangeError> {
    let writing = async {
        stream.write_all(message).await?;
        stream.flush().await
    };
    Ok(timeout(within, writing).await.map_err(|_| ExchangeError::Late(within))??)
}

/// Why a message was not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The stream ended in order where a message could have begun.
    #[error("the inner stream ended")]
    Ended,
    /// The stream failed, or ended within a message.
    #[error("the inner stream ended: {0}")]
    Io(#[from] io::Error),
    /// The other end broke the protocol.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The other end took too long.
    #[error("no message within {0:?}")]
    Late(Duration),
}

async fn read(stream: &mut (impl AsyncRead + Unpin), within: Duration) -> Result<Vec<u8>, ExchangeError> {
    let reading = async {
        let mut length = [0; 2];
        match stream.read(&mut length).await? {
            0 => return Err(ExchangeError::Ended),
            read => stream.read_exact(&mut length[read..]).await?,
        };
        let length = u16::from_be_bytes(length);
        if usize::from(length) > LIMIT {
            return Err(StreamError::TooLong(length.into()).into());
        }
        let mut message = length.to_be_bytes().to_vec();
        message.resize(2 + usize::from(length), 0);
        stream.read_exact(&mut message[2..]).await?;
        Ok(message)
    };
    timeout(within, reading).await.map_err(|_| ExchangeError::Late(within))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn what_follows_a_message_stays_in_the_stream() {
        let go = Go { session: None, connection: 3 };
        let bytes = [go.encode(), b"SSH-2.0-".to_vec()].concat();
        let mut stream = bytes.as_slice();
        assert_eq!(read_go(&mut stream, SOON).await.unwrap(), go);
        assert_eq!(stream, b"SSH-2.0-");
    }

    #[tokio::test]
    async fn a_length_above_the_limit_is_refused_at_once() {
        let result = read_go(&mut &[0xff, 0xff][..], SOON).await;
        assert!(matches!(result, Err(ExchangeError::Stream(StreamError::TooLong(0xffff)))));
    }

    #[tokio::test]
    async fn a_message_cut_short_is_an_end() {
        let bytes = Go { session: None, connection: 3 }.encode();
        let result = read_go(&mut &bytes[..bytes.len() - 1], SOON).await;
        assert!(matches!(result, Err(ExchangeError::Io(_))));
    }

    #[tokio::test]
    async fn an_end_in_place_of_a_message_is_told_apart() {
        assert!(matches!(read_go(&mut &[][..], SOON).await, Err(ExchangeError::Ended)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_end_is_given_up() {
        let (mut near, _far) = tokio::io::duplex(64);
        assert!(matches!(read_answer(&mut near, SOON).await, Err(ExchangeError::Late(_))));
    }
}
