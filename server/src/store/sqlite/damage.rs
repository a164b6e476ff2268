//! What a damaged file looks like from within a query.

use rusqlite::{ErrorCode, types::Type};

/// Something that was written differently, or never.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    /// Its bytes have changed.
    #[error("row {row} of {table} does not match its checksum")]
    Sum { table: &'static str, row: i64 },
    /// An index leads to a row of another key.
    #[error("row {row} of log is not what leads to it says")]
    Index { row: i64 },
    /// An id is there for whoever adds it, and not for whoever looks for it.
    #[error("the index of operations leads nowhere")]
    Receipt,
    /// The one row of the table `store` is not there.
    #[error("the store has lost its name")]
    Nameless,
}

impl From<Damage> for rusqlite::Error {
    fn from(damage: Damage) -> Self {
        Self::FromSqlConversionFailure(0, Type::Blob, Box::new(damage))
    }
}

/// Whether an error of the engine says that the file is not what was written.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    let converted =
        matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..));
    let code = error.sqlite_error_code();
    converted || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
