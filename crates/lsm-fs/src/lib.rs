//! The only door to the operating system: files, directories, locks, mapped segments and clocks.
