//! The file of the demo gateway: one record for each change, appended before the change is answered.
//!
//! The file begins with a magic word and the id of the gateway. A record is its length, a checksum and the payment, so that
//! the last record, which a kill may have cut off, is recognised and dropped. Each start writes the file anew with one record
//! for each payment, so it does not grow without end. Another file beside it is locked, so that no two processes write.
//!
//! Nothing is forced to the disk. What was written survives the end of the process, however it ends, but not that of the
//! machine.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tracing::warn;

use super::record::Record;
use crate::telemetry::cause;

const NAME: &str = "demo-gateway.log";
const MAGIC: &[u8; 8] = b"BXGATE1\n";
/// A payment with a thousand operations takes about 200 KB.
const MAX_RECORD: usize = 1 << 20;
const CHECKSUM: usize = 8;

/// The id of a gateway: it tells a token of this one from a token of another one.
pub(super) type Id = [u8; 16];

/// Why the file of the demo gateway cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{path} is in use by another process: processes that share a gateway need `boxoffice demo-gateway` and \
         --payment-gateway-url"
    )]
    Locked {
        /// The file.
        path: String,
    },
    /// It cannot be read or written.
    #[error("{path} cannot be used: {cause}")]
    Unusable {
        /// The file or folder.
        path: String,
        /// The cause.
        cause: String,
    },
    /// It is not a file of the demo gateway, or was changed by something else.
    #[error("{path} cannot be used: it is damaged at byte {at}; move it away, and the demo gateway begins anew")]
    Damaged {
        /// The file.
        path: String,
        /// Where the first record begins that cannot be read.
        at: u64,
    },
}

/// The file, open for appending.
pub(super) struct Log {
    file: File,
    length: u64,
    /// Keeps the lock.
    _lock: File,
}

impl Log {
    /// Opens or makes the file in this folder. Returns the gateway's id and all records, of which later ones replace earlier
    /// ones with the same payment key, with `compact` applied to them.
    pub(super) fn open(
        folder: &Path,
        new_id: Id,
        compact: impl FnOnce(Vec<Record>) -> Vec<Record>,
    ) -> Result<(Self, Id, Vec<Record>), OpenError> {
        let path = folder.join(NAME);
        let unusable =
            |error: io::Error| OpenError::Unusable { path: path.display().to_string(), cause: cause::of_io(&error) };
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = lock(&path)?;
        let (id, records) = match File::open(&path) {
            Ok(file) => read(&path, file)?.unwrap_or((new_id, Vec::new())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (new_id, Vec::new()),
            Err(error) => return Err(unusable(error)),
        };
        let records = compact(records);
        let (file, length) = write_anew(&path, &id, &records).map_err(unusable)?;
        Ok((Self { file, length, _lock: lock }, id, records))
    }

    /// Appends a record. If that fails, nothing of it stays in the file.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = encode(record);
        let written = self.file.write_all(&bytes);
        if written.is_ok() {
            self.length += bytes.len() as u64;
        } else {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
        }
        written
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let path = path.with_extension("lock");
    let shown = || path.display().to_string();
    let unusable = |error| OpenError::Unusable { path: shown(), cause: cause::of_io(&error) };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: shown() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Reads the whole file. `None`: it ends before its first record.
fn read(path: &Path, file: File) -> Result<Option<(Id, Vec<Record>)>, OpenError> {
    let unusable =
        |error: io::Error| OpenError::Unusable { path: path.display().to_string(), cause: cause::of_io(&error) };
    let damaged = |at| OpenError::Damaged { path: path.display().to_string(), at };
    let length = file.metadata().map_err(unusable)?.len();
    let mut reader = BufReader::new(file);
    let (mut magic, mut id) = (*MAGIC, Id::default());
    if length < (magic.len() + id.len()) as u64 {
        return if length == 0 { Ok(None) } else { Err(damaged(0)) };
    }
    reader.read_exact(&mut magic).map_err(unusable)?;
    reader.read_exact(&mut id).map_err(unusable)?;
    if magic != *MAGIC {
        return Err(damaged(0));
    }
    let (mut records, mut at) = (Vec::new(), (magic.len() + id.len()) as u64);
    while at < length {
        let mut head = [0; 4 + CHECKSUM];
        let left = length - at;
        if left < head.len() as u64 {
            break;
        }
        reader.read_exact(&mut head).map_err(unusable)?;
        let (size, checksum) = head.split_at(4);
        let size = size.try_into().map_or(0, u32::from_le_bytes) as usize;
        if size > MAX_RECORD {
            return Err(damaged(at));
        }
        let whole = (head.len() + size) as u64;
        if left < whole {
            break;
        }
        let mut body = vec![0; size];
        reader.read_exact(&mut body).map_err(unusable)?;
        let record = Record::decode(&*body).ok().filter(|_| *checksum == checksum_of(&body));
        records.push(record.ok_or_else(|| damaged(at))?);
        at += whole;
    }
    if at < length {
        warn!(bytes = length - at, "the demo gateway dropped its last record, which is not complete");
    }
    Ok(Some((id, records)))
}

/// Writes a file with these records, and puts it in the place of the old one.
fn write_anew(path: &Path, id: &Id, records: &[Record]) -> io::Result<(File, u64)> {
    let new: PathBuf = path.with_extension("new");
    let mut writer = BufWriter::new(File::create(&new)?);
    writer.write_all(MAGIC)?;
    writer.write_all(id)?;
    for record in records {
        writer.write_all(&encode(record))?;
    }
    let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(&new, path)?;
    let length = file.stream_position()?;
    Ok((file, length))
}

fn encode(record: &Record) -> Vec<u8> {
    let body = record.encode_to_vec();
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&size.to_le_bytes(), &checksum_of(&body)[..], &body].concat()
}

fn checksum_of(body: &[u8]) -> [u8; CHECKSUM] {
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(&Sha256::digest(body)[..CHECKSUM]);
    checksum
}
