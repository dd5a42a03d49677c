//! A store that RocksDB 7.8.3 wrote, and a twin of it. `tests/data/rocksdb/make.sh` made them with `ldb`, each by a
//! script that also tells here what they must hold.

use anyhow::{Context, Result, bail};

use super::golden::{FAMILIES, Files, Rows};

macro_rules! store {
    ($name:literal) => {
        store!(
            $name, "000015.sst", "000020.sst", "000027.sst", "000032.sst", "000037.sst", "000042.sst", "000047.sst",
            "000052.sst", "000053.log", "CURRENT", "IDENTITY", "LOCK", "MANIFEST-000054"
        )
    };
    ($name:literal, $($file:literal),*) => {
        Store {
            script: include_str!(concat!("../../../tests/data/rocksdb/", $name, ".script")),
            files: &[$(($file, include_bytes!(concat!("../../../tests/data/rocksdb/", $name, "/", $file)))),*],
        }
    };
}

/// The store and its twin.
pub(super) const STORES: [Store; 2] = [store!("store"), store!("twin")];

pub(super) struct Store {
    script: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

impl Store {
    pub(super) fn files(&self) -> Files {
        self.files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect()
    }

    /// What the store held after each write. Those of the last line, which loads pairs, are in the log.
    pub(super) fn states(&self) -> Result<Vec<Rows>> {
        let mut states = vec![Rows::new()];
        for line in self.script.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [command, family, arguments @ ..] = words.as_slice() else { bail!("a line without a family: {line}") };
            let family = FAMILIES.into_iter().find(|name| name == family).context("an unknown family")?;
            let key = |word: &str| (family, word.as_bytes().to_vec());
            let mut rows = states.last().cloned().unwrap_or_default();
            match (*command, arguments) {
                ("family" | "compact", []) => {}
                ("delete", [gone]) => drop(rows.remove(&key(gone))),
                ("deleterange", [from, to]) => rows.retain(|at, _| !(key(from)..key(to)).contains(at)),
                ("put" | "batchput" | "load", pairs) => {
                    for pair in pairs.chunks_exact(2) {
                        rows.insert(key(pair[0]), pair[1].as_bytes().to_vec());
                        if *command == "load" {
                            states.push(rows.clone());
                        }
                    }
                }
                _ => bail!("an unknown line: {line}"),
            }
            if *command != "load" {
                states.push(rows);
            }
        }
        Ok(states)
    }

    /// How many of the last states only the log tells of, and the one before them, which the tables hold.
    pub(super) fn states_of_the_log(&self) -> usize {
        let last = self.script.lines().last().unwrap_or_default();
        // Command and family stand for the one before.
        last.split(' ').count() / 2
    }
}
