//! Arrow streams, decoded as their bytes arrive. Unlike `StreamReader` this never reserves what a damaged size asks for,
//! and it notices a stream that ends inside a message.

use std::io::BufRead;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{ArrowError, SchemaRef};

use super::table::guarded;

/// The record batches of a stream.
pub struct IpcStream {
    reader: Box<dyn BufRead + Send>,
    decoder: StreamDecoder,
    chunk: Buffer,
    /// A batch that was met while looking for the schema.
    first: Option<RecordBatch>,
}

impl IpcStream {
    /// Reads up to the schema.
    ///
    /// # Errors
    /// When the bytes are no Arrow stream or end before the schema does.
    pub fn open(reader: Box<dyn BufRead + Send>) -> Result<(Self, SchemaRef), ArrowError> {
        let mut stream = Self { reader, decoder: StreamDecoder::new(), chunk: Buffer::default(), first: None };
        stream.read_schema()?;
        let schema = stream.decoder.schema();
        schema.map(|schema| (stream, schema)).ok_or_else(|| ArrowError::IpcError("unexpected end of the stream".into()))
    }

    fn read_schema(&mut self) -> Result<(), ArrowError> {
        while self.decoder.schema().is_none() && self.first.is_none() {
            match guarded(|| self.decode())? {
                Some(batch) => self.first = Some(batch),
                None if self.chunk.is_empty() && !self.fill()? => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        self.decoder.decode(&mut self.chunk)
    }

    /// Reads on; `false` at the end.
    fn fill(&mut self) -> Result<bool, ArrowError> {
        let bytes = self.reader.fill_buf()?;
        let length = bytes.len();
        self.chunk = Buffer::from(bytes);
        self.reader.consume(length);
        Ok(length > 0)
    }
}

impl Iterator for IpcStream {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(batch) = self.first.take() {
            return Some(Ok(batch));
        }
        loop {
            match self.decode() {
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return self.decoder.finish().err().map(Err),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
