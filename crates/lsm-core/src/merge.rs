//! many cursors seen as one
