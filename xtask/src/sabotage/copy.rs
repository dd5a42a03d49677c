//! The copy of the source in which bugs are planted.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::Plant;

/// A copy of all files that belong to the workspace.
pub(super) struct Copy {
    root: PathBuf,
}

impl Copy {
    /// Brings the copy in `target` up to date. A file with the same content keeps its time, so that what was
    /// built from it before need not be built again.
    pub(super) fn new(source: &Path, target: &Path) -> anyhow::Result<Copy> {
        let root = target.join("tree");
        let output = Command::new("git")
            .current_dir(source)
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .output()
            .context("cannot start git, which knows the files of the workspace")?;
        ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        let names = String::from_utf8(output.stdout)?;
        for name in names.split('\0').filter(|name| !name.is_empty() && source.join(name).is_file()) {
            let content = std::fs::read(source.join(name)).with_context(|| format!("cannot read {name}"))?;
            write_if_different(&root.join(name), &content)?;
        }
        Ok(Copy { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Plants a bug until the answer is dropped.
    pub(super) fn plant(&self, plant: &Plant) -> anyhow::Result<Planted> {
        let path = self.root.join(plant.file);
        let before = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", plant.file))?;
        let count = before.matches(plant.find).count();
        ensure!(count == 1, "{} holds the text that `{}` replaces {count} times", plant.file, plant.name); // P3
        let planted = Planted { path, before };
        std::fs::write(&planted.path, planted.before.replacen(plant.find, plant.plant, 1))?;
        Ok(planted)
    }
}

/// A planted bug, taken back on drop.
pub(super) struct Planted {
    path: PathBuf,
    before: String,
}

impl Drop for Planted {
    fn drop(&mut self) {
        std::fs::write(&self.path, &self.before).expect("a file that was just written can be written again");
    }
}

fn write_if_different(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
