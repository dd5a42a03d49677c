//! An arena skiplist that is read without locks while it is written.
