//! Numbers and pieces out of an input. Where the input has ended everything is zero or empty.

pub(crate) struct Feed<'a> {
    rest: &'a [u8],
}

impl<'a> Feed<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Feed<'a> {
        Feed { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    pub(crate) fn number16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Bytes behind a length of two bytes; fewer where the input ends.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let bytes = usize::from(self.number16()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        piece
    }
}
