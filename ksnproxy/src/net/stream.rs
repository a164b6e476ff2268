//! Frames on a stream of bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::frame::{Header, Malformed};

/// Takes frames off a stream, one after the other.
#[derive(Debug)]
pub(super) struct Frames<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Bytes of the frame that was given last.
    given: usize,
    limit: usize,
}

/// Why there is no further frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A frame is longer than it may be here.
    #[error("frame of {0} bytes exceeds the limit of {1}")]
    TooLong(usize, usize),
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Frames of at most `limit` bytes.
    pub(super) const fn new(stream: R, limit: usize) -> Self {
        Self { stream, buffer: Vec::new(), given: 0, limit }
    }

    /// The next frame; `None` at the end of the stream. Safe to cancel: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Option<(Header, &mut [u8])>, FrameError> {
        self.buffer.drain(..self.given);
        self.given = 0;
        loop {
            if self.buffer.len() >= Header::LENGTH {
                let header = Header::parse(&self.buffer)?;
                let length = usize::from(header.length);
                if length > self.limit {
                    return Err(FrameError::TooLong(length, self.limit));
                }
                if self.buffer.len() >= length {
                    self.given = length;
                    return Ok(Some((header, &mut self.buffer[..length])));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    /// Whether another whole frame is there already, so that answers can leave together.
    pub(super) fn has_another(&self) -> bool {
        let rest = &self.buffer[self.given..];
        Header::parse(rest).is_ok_and(|header| rest.len() >= usize::from(header.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encode_query;
    use crate::subject::Subject;

    #[tokio::test]
    async fn frames_are_taken_off_however_they_are_cut() {
        let mut bytes = Vec::new();
        for serial in 0..3 {
            encode_query(0, serial, &[Subject::domain("a").key()], &mut bytes);
        }
        for cut in 1..bytes.len() {
            let stream = tokio_test_stream(&bytes, cut);
            let mut frames = Frames::new(stream, 100);
            for serial in 0..3 {
                let (header, frame) = frames.next().await.unwrap().unwrap();
                assert_eq!((header.serial, frame.len()), (serial, 48));
            }
            assert!(frames.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_too_long_or_cut_off_is_an_error() {
        let mut bytes = Vec::new();
        encode_query(0, 0, &[Subject::domain("a").key()], &mut bytes);
        let error = |bytes: Vec<u8>, limit| async move {
            Frames::new(std::io::Cursor::new(bytes), limit).next().await.unwrap_err()
        };
        assert!(matches!(error(vec![0; 30], 100).await, FrameError::Malformed(_)));
        assert!(matches!(error(bytes.clone(), 47).await, FrameError::TooLong(48, 47)));
        assert!(matches!(error(bytes[..40].to_vec(), 100).await, FrameError::Io(_)));
    }

    fn tokio_test_stream(bytes: &[u8], cut: usize) -> impl AsyncRead + Unpin {
        let (first, second) = bytes.split_at(cut);
        std::io::Cursor::new(first.to_vec()).chain(std::io::Cursor::new(second.to_vec()))
    }
}
