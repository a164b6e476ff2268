//! Frames and messages of the agent protocol against the common ways to do the same.

mod pipe;

use std::hint::black_box;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use klnet_wire::frame::{Frame, Header, PAYLOAD_LIMIT};
use klnet_wire::message::{Kind, Message};
use klnet_wire::signed::Signed;
use prost::Message as _;
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use super::{Better, Options, Report, Row, Sample, Subject, compare};

pub(super) fn run(options: &Options) -> Result<Report> {
    let mut rows = Vec::new();
    for (len, name) in PAYLOADS {
        let payload = Payload::new(*len);
        let row = |what: &str, ours, peer| payload.row(options, &format!("{what}, {name}"), ours, peer);
        rows.push(row("encode a frame", encode::<OurFrames>, encode::<CodecFrames>)?);
        rows.push(row("decode a frame", decode::<OurFrames>, decode::<CodecFrames>)?);
        rows.push(row("encode a message", encode::<OurMessages>, encode::<CodecMessages>)?);
        rows.push(row("decode a message", decode::<OurMessages>, decode::<CodecMessages>)?);
    }
    for (len, name) in PAYLOADS.iter().filter(|(len, _)| *len > 0) {
        rows.push(pipe::row(options, *len, name)?);
    }
    Ok(Report { rows, notes: NOTES.map(str::to_owned).to_vec() })
}

/// One payload in every form in which it is sent.
struct Payload {
    frame: Frame,
    message: Message,
    /// The peer's message: the same fields, or nothing.
    signed: Option<Signed>,
}

type Measure = fn(&Payload) -> Result<Sample>;

impl Payload {
    fn new(len: usize) -> Self {
        // A signed blob whose protobuf encoding has exactly this length.
        let field = |len: usize| 1 + prost::length_delimiter_len(len) + len;
        let inside = (0..=len).rev().find(|inside| field(*inside) <= len).filter(|inside| *inside > 0);
        let signed = inside.map(|inside| Signed { bytes: vec![7; inside].into(), ..Signed::default() });
        let (message, kind) = match &signed {
            Some(signed) => (Message::Grant(signed.clone()), Kind::Grant),
            None => (Message::Ping, Kind::Ping),
        };
        // At an odd offset, like a field of something received: two pages apart to the byte is a memcpy's worst case.
        let payload = Bytes::from(vec![7; OFFSET + len]).slice(OFFSET..);
        let frame = Frame { kind: kind as u8, flags: 0, stream: 0, payload };
        Self { frame, message, signed }
    }

    fn row(&self, options: &Options, what: &str, ours: Measure, peer: Measure) -> Result<Row> {
        let subject = Subject { what, unit: unit(self.len()), better: Better::Higher };
        let peer_name = if what.contains("message") { "codec + prost" } else { "codec" };
        compare(options, subject, ("klnet-wire", || ours(self)), (peer_name, || peer(self)))
    }

    fn len(&self) -> usize {
        self.frame.payload.len()
    }

    /// Frames in one TLS record.
    fn batch(&self) -> usize {
        (RECORD / (HEADER + self.len())).max(1)
    }
}

/// A way to put payloads on a wire and to take them off.
trait Framing: Default {
    fn encode(&mut self, payload: &Payload, output: &mut BytesMut) -> Result<()>;
    /// Takes every whole frame off the input and says how many there were.
    fn decode(&mut self, input: &mut BytesMut) -> Result<usize>;
}

/// Appends a record's worth of frames to a buffer and empties it, over and over.
fn encode<F: Framing>(payload: &Payload) -> Result<Sample> {
    let (mut framing, mut output) = (F::default(), BytesMut::with_capacity(2 * RECORD));
    let batch = payload.batch();
    let batches = frames(payload.len()).div_ceil(batch);
    Sample::of_this_process(|elapsed| {
        for _ in 0..batches {
            output.clear();
            for _ in 0..batch {
                framing.encode(payload, &mut output)?;
            }
            black_box(&mut output);
        }
        rate(batch * batches, payload.len(), elapsed().as_secs_f64())
    })
}

/// Reads a stream that comes in TLS records, whose borders cut frames.
fn decode<F: Framing>(payload: &Payload) -> Result<Sample> {
    let (mut framing, mut wire) = (F::default(), BytesMut::new());
    for _ in 0..payload.batch() * RECORDS {
        framing.encode(payload, &mut wire)?;
    }
    let rounds = frames(payload.len()).div_ceil(payload.batch() * RECORDS);
    let (mut input, mut decoded) = (BytesMut::with_capacity(2 * RECORD), 0);
    Sample::of_this_process(|elapsed| {
        for _ in 0..rounds {
            for record in wire.chunks(RECORD) {
                input.extend_from_slice(record);
                decoded += framing.decode(&mut input)?;
            }
        }
        rate(decoded, payload.len(), elapsed().as_secs_f64())
    })
}

#[derive(Default)]
struct OurFrames;

impl Framing for OurFrames {
    fn encode(&mut self, payload: &Payload, output: &mut BytesMut) -> Result<()> {
        Ok(payload.frame.encode(output)?)
    }

    fn decode(&mut self, input: &mut BytesMut) -> Result<usize> {
        let mut count = 0;
        while let Some(frame) = Frame::decode(input)? {
            black_box(frame);
            count += 1;
        }
        Ok(count)
    }
}

/// The codec as it comes, with its four bytes of length.
#[derive(Default)]
struct CodecFrames(LengthDelimitedCodec);

impl Framing for CodecFrames {
    fn encode(&mut self, payload: &Payload, output: &mut BytesMut) -> Result<()> {
        Ok(self.0.encode(payload.frame.payload.clone(), output)?)
    }

    fn decode(&mut self, input: &mut BytesMut) -> Result<usize> {
        let mut count = 0;
        while let Some(frame) = self.0.decode(input)? {
            black_box(frame);
            count += 1;
        }
        Ok(count)
    }
}

#[derive(Default)]
struct OurMessages;

impl Framing for OurMessages {
    fn encode(&mut self, payload: &Payload, output: &mut BytesMut) -> Result<()> {
        Ok(payload.message.encode(0, output)?)
    }

    fn decode(&mut self, input: &mut BytesMut) -> Result<usize> {
        let mut count = 0;
        while let Some((header, payload)) = Header::split(input)? {
            black_box(Message::read(header.kind, header.flags, payload.freeze())?);
            count += 1;
        }
        Ok(count)
    }
}

/// The same protobuf message in the codec's frame; it says neither its type nor its stream.
#[derive(Default)]
struct CodecMessages {
    codec: LengthDelimitedCodec,
    /// Where prost writes; kept, so that the peer need not allocate either.
    encoded: Vec<u8>,
}

impl Framing for CodecMessages {
    fn encode(&mut self, payload: &Payload, output: &mut BytesMut) -> Result<()> {
        self.encoded.clear();
        if let Some(signed) = &payload.signed {
            signed.encode(&mut self.encoded)?;
        }
        Ok(self.codec.encode(&self.encoded[..], output)?)
    }

    fn decode(&mut self, input: &mut BytesMut) -> Result<usize> {
        let mut count = 0;
        while let Some(frame) = self.codec.decode(input)? {
            black_box(Signed::decode(frame.freeze())?);
            count += 1;
        }
        Ok(count)
    }
}

/// Frames in one measurement.
fn frames(len: usize) -> usize {
    BYTES / (len + FRAME_COST)
}

fn unit(len: usize) -> &'static str {
    if len < 1024 { "M frames/s" } else { "GB/s" }
}

fn rate(frames: usize, len: usize, seconds: f64) -> Result<f64> {
    let counted = if len < 1024 { frames * 1000 } else { frames * len };
    Ok(f64::from(u32::try_from(counted / 1000)?) / 1e6 / seconds)
}

const PAYLOADS: &[(usize, &str)] = &[
    (0, "empty (PING)"),
    (18, "18 B"),
    (256, "256 B"),
    (1024, "1 KiB"),
    (PAYLOAD_LIMIT, "16,368 B (the longest)"),
];

const NOTES: [&str; 3] = [
    "Figures count payload bytes (GB = 10^9 bytes) or frames; CPU seconds are of all rounds.",
    "The peer's frame has 4 bytes of length, ours 8 with type, flags and stream. Its messages are encoded by prost first \
     and framed then, as with `Framed`; both sides decode without copying fields.",
    "Pipes: one task writes each payload as a frame of its own into an in-memory pipe of 64 KiB, another takes the \
     payloads off; yamux has its connection tasks and windows besides, which one stream needs, too.",
];

/// Where payloads begin in their buffer.
const OFFSET: usize = 77;
const HEADER: usize = klnet_wire::frame::HEADER_LEN;
/// The plaintext of one TLS record.
const RECORD: usize = 16 * 1024;
/// Records of one pass over the wire while decoding.
const RECORDS: usize = 16;
/// What a frame costs whatever its length, counted as bytes; keeps measurements of every length about as long.
const FRAME_COST: usize = 400;
/// A few tenths of a second of work.
const BYTES: usize = 6_000_000_000;
