//! The rows of the server's own answers about itself, read by their columns' places.

use contract::SourceError;
use tiberius::ColumnData;

/// A row.
#[derive(Debug)]
pub(crate) struct Row(tiberius::Row);

fn other(doing: &str, at: usize, wanted: &str) -> SourceError {
    SourceError::Malformed(format!(
        "{doing}: column {} of the answer is no {wanted}",
        at + 1
    ))
}

impl Row {
    pub(crate) fn new(row: tiberius::Row) -> Self {
        Self(row)
    }

    /// Its cells as they came, to be made values by their columns.
    pub(crate) fn into_cells(self) -> impl Iterator<Item = ColumnData<'static>> {
        self.0.into_iter()
    }

    /// Its columns as the server describes them.
    pub(crate) fn columns(&self) -> &[tiberius::Column] {
        self.0.columns()
    }

    pub(crate) fn cell(&self, at: usize) -> Option<&ColumnData<'static>> {
        self.0.get_column_data(at).ok()
    }

    /// A whole number of any width, or a truth value as 0 and 1.
    pub(crate) fn int(&self, doing: &str, at: usize) -> Result<Option<i64>, SourceError> {
        match self.cell(at) {
            Some(ColumnData::U8(value)) => Ok(value.map(i64::from)),
            Some(ColumnData::I16(value)) => Ok(value.map(i64::from)),
            Some(ColumnData::I32(value)) => Ok(value.map(i64::from)),
            Some(ColumnData::I64(value)) => Ok(*value),
            Some(ColumnData::Bit(value)) => Ok(value.map(i64::from)),
            _ => Err(other(doing, at, "whole number")),
        }
    }

    /// A whole number that is always there.
    pub(crate) fn int_there(&self, doing: &str, at: usize) -> Result<i64, SourceError> {
        self.int(doing, at)?
            .ok_or_else(|| other(doing, at, "whole number: it is NULL"))
    }

    /// A truth value; NULL counts as false.
    pub(crate) fn flag(&self, doing: &str, at: usize) -> Result<bool, SourceError> {
        Ok(self.int(doing, at)?.is_some_and(|value| value != 0))
    }

    pub(crate) fn text(&self, doing: &str, at: usize) -> Result<Option<String>, SourceError> {
        match self.cell(at) {
            Some(ColumnData::String(text)) => {
                Ok(text.as_ref().map(|text| text.clone().into_owned()))
            }
            _ => Err(other(doing, at, "text")),
        }
    }

    /// A text that is always there.
    pub(crate) fn text_there(&self, doing: &str, at: usize) -> Result<String, SourceError> {
        self.text(doing, at)?
            .ok_or_else(|| other(doing, at, "text: it is NULL"))
    }

    pub(crate) fn bytes(&self, doing: &str, at: usize) -> Result<Option<Vec<u8>>, SourceError> {
        match self.cell(at) {
            Some(ColumnData::Binary(bytes)) => {
                Ok(bytes.as_ref().map(|bytes| bytes.clone().into_owned()))
            }
            _ => Err(other(doing, at, "row of bytes")),
        }
    }

    /// So many bytes.
    pub(crate) fn array<const N: usize>(
        &self,
        doing: &str,
        at: usize,
    ) -> Result<Option<[u8; N]>, SourceError> {
        let Some(bytes) = self.bytes(doing, at)? else {
            return Ok(None);
        };
        let array = bytes.try_into();
        array
            .map(Some)
            .map_err(|_| other(doing, at, "row of so many bytes"))
    }

    pub(crate) fn uuid(&self, doing: &str, at: usize) -> Result<Option<[u8; 16]>, SourceError> {
        match self.cell(at) {
            Some(ColumnData::Guid(uuid)) => Ok(uuid.map(|uuid| *uuid.as_bytes())),
            _ => Err(other(doing, at, "uniqueidentifier")),
        }
    }
}
