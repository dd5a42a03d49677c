//! Models, seeded choices and a faulty file system for tests of the store.
