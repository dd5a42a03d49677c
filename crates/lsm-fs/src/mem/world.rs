//! All files and directories of one [`super::MemFs`].
//!
//! Errors come in the order in which Linux finds them, so that the real file system gives the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use super::content::{By, Content};
use super::crash::{Crash, Fate};
use super::names::{EntryChange, NameChange, surviving, take_synced};
use super::random::Random;
use crate::fs::{FileType, Metadata};

pub(super) type NodeId = u64;

const ROOT: NodeId = 0;

pub(super) struct World {
    nodes: BTreeMap<NodeId, Node>,
    next_id: NodeId,
    pending: Vec<NameChange>,
    locked: BTreeSet<NodeId>,
    capacity: Option<u64>,
    /// Where [`World::random`] comes from, if not from the system.
    random: Option<Random>,
}

enum Node {
    File { content: Content, opens: usize },
    Directory { visible: Entries, durable: Entries },
}

type Entries = BTreeMap<String, NodeId>;

impl Default for World {
    fn default() -> World {
        let mut world = World {
            nodes: BTreeMap::new(),
            next_id: ROOT,
            pending: Vec::new(),
            locked: BTreeSet::new(),
            capacity: None,
            random: None,
        };
        world.add(Node::directory(Entries::new()));
        world
    }
}

impl Node {
    fn directory(entries: Entries) -> Node {
        Node::Directory { visible: entries.clone(), durable: entries }
    }

    /// The nodes to which names in this one lead.
    fn visible(&self) -> impl Iterator<Item = NodeId> {
        let entries = match self {
            Node::File { .. } => None,
            Node::Directory { visible, .. } => Some(visible.values().copied()),
        };
        entries.into_iter().flatten()
    }
}

/// Calls on paths.
impl World {
    /// Creates a file and opens it.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<NodeId> {
        let (directory, name) = self.place(path)?;
        if self.entries(directory).contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = self.add(Node::File { content: Content::default(), opens: 1 });
        self.change(NameChange(vec![EntryChange { directory, name, before: None, after: Some(id) }]));
        Ok(id)
    }

    /// Opens a file; [`World::close`] must follow.
    pub(super) fn open(&mut self, path: &Path) -> io::Result<NodeId> {
        let id = self.find(path)?;
        match self.node_mut(id) {
            Node::File { opens, .. } => *opens += 1,
            Node::Directory { .. } => return Err(ErrorKind::IsADirectory.into()),
        }
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_directory, from_name) = self.place(from)?;
        let (to_directory, to_name) = self.place(to)?;
        let source = self.entry(from_directory, &from_name).ok_or(ErrorKind::NotFound)?;
        let target = self.entry(to_directory, &to_name);
        if self.is_inside(to_directory, source) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(target) = target {
            if self.is_inside(from_directory, target) {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            if source == target {
                return Ok(());
            }
            self.check_replaceable(source, target)?;
        }
        self.change(NameChange(vec![
            EntryChange { directory: from_directory, name: from_name, before: Some(source), after: None },
            EntryChange { directory: to_directory, name: to_name, before: target, after: Some(source) },
        ]));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        let id = self.entry(directory, &name).ok_or(ErrorKind::NotFound)?;
        if self.is_directory(id) {
            return Err(ErrorKind::IsADirectory.into());
        }
        self.change(NameChange(vec![EntryChange { directory, name, before: Some(id), after: None }]));
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        let (directory, name) = self.place(to)?;
        if self.entry(directory, &name).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if self.is_directory(id) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.change(NameChange(vec![EntryChange { directory, name, before: None, after: Some(id) }]));
        Ok(())
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.entries(self.find_directory(path)?).keys().cloned().collect())
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let id = self.find(path)?;
        Ok(match &self.nodes[&id] {
            Node::File { content, .. } => {
                Metadata { kind: FileType::File, bytes: content.len(), links: self.links(id) }
            }
            Node::Directory { .. } => Metadata { kind: FileType::Directory, bytes: 0, links: 1 },
        })
    }

    /// Creates directories, whose names are durable at once (see [`crate::Fs::create_dir`]).
    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let mut directory = ROOT;
        let names = components(path)?;
        for (depth, &name) in names.iter().enumerate() {
            directory = match self.entry(directory, name) {
                Some(id) if self.is_directory(id) => id,
                Some(_) if depth + 1 == names.len() => return Err(ErrorKind::AlreadyExists.into()),
                Some(_) => return Err(ErrorKind::NotADirectory.into()),
                None => {
                    let id = self.add(Node::directory(Entries::new()));
                    let name = name.to_owned();
                    self.change(NameChange(vec![EntryChange { directory, name, before: None, after: Some(id) }]));
                    self.sync_names(directory);
                    id
                }
            };
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        let id = self.entry(directory, &name).ok_or(ErrorKind::NotFound)?;
        match &self.nodes[&id] {
            Node::File { .. } => return Err(ErrorKind::NotADirectory.into()),
            Node::Directory { visible, .. } if !visible.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
            Node::Directory { .. } => {}
        }
        self.change(NameChange(vec![EntryChange { directory, name, before: Some(id), after: None }]));
        Ok(())
    }

    /// See [`Content::fail_sync`].
    pub(super) fn fail_sync(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        match self.node_mut(id) {
            Node::File { content, .. } => content.fail_sync(),
            Node::Directory { .. } => return Err(ErrorKind::IsADirectory.into()),
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let directory = self.find_directory(path)?;
        self.sync_names(directory);
        Ok(())
    }
}

/// Calls on open files.
impl World {
    pub(super) fn content(&self, id: NodeId) -> &Content {
        match &self.nodes[&id] {
            Node::File { content, .. } => content,
            Node::Directory { .. } => unreachable!("only files are opened"),
        }
    }

    pub(super) fn content_mut(&mut self, id: NodeId) -> &mut Content {
        match self.node_mut(id) {
            Node::File { content, .. } => content,
            Node::Directory { .. } => unreachable!("only files are opened"),
        }
    }

    /// Writes as many of `bytes` as there is space for.
    pub(super) fn write(&mut self, id: NodeId, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let writable = (self.content(id).len() + self.free()).saturating_sub(offset);
        let count = bytes.len().min(usize::try_from(writable).unwrap_or(usize::MAX));
        if count == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.content_mut(id).write(in_memory(offset)?, &bytes[..count], By::Write);
        Ok(count)
    }

    pub(super) fn set_len(&mut self, id: NodeId, bytes: u64) -> io::Result<()> {
        if bytes.saturating_sub(self.content(id).len()) > self.free() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.content_mut(id).set_len(in_memory(bytes)?);
        Ok(())
    }

    pub(super) fn close(&mut self, id: NodeId) {
        match self.node_mut(id) {
            Node::File { opens, .. } => *opens -= 1,
            Node::Directory { .. } => unreachable!("only files are opened"),
        }
    }

    /// Takes a lock, or says that it is taken.
    pub(super) fn take_lock(&mut self, id: NodeId) -> bool {
        self.locked.insert(id)
    }

    /// Whether `path` leads to the file `id`.
    pub(super) fn is_at(&self, id: NodeId, path: &Path) -> bool {
        self.find(path).is_ok_and(|found| found == id)
    }

    pub(super) fn release_lock(&mut self, id: NodeId) {
        self.locked.remove(&id);
    }

    pub(super) fn seed(&mut self, seed: u64) {
        self.random = Some(Random::new(seed));
    }

    /// The next number, if there is a seed that it follows from.
    pub(super) fn random(&mut self) -> Option<u64> {
        self.random.as_mut().map(Random::next)
    }

    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// Bytes that may still be written. A file takes room as long as a name or a handle leads to it, not while only a crash
    /// would bring it back.
    pub(super) fn free(&self) -> u64 {
        let Some(capacity) = self.capacity else { return i64::MAX as u64 };
        let named: BTreeSet<NodeId> = self.nodes.values().flat_map(Node::visible).collect();
        let used = self.nodes.iter().map(|(id, node)| match node {
            Node::File { content, opens } if *opens > 0 || named.contains(id) => content.len(),
            Node::File { .. } | Node::Directory { .. } => 0,
        });
        capacity.saturating_sub(used.sum())
    }
}

/// Crashes.
impl World {
    /// What a crash leaves, and how many decisions it took.
    pub(super) fn crash(&self, crash: Crash) -> (World, usize) {
        if crash == Crash::KeepAll {
            return (self.without_processes(), 0);
        }
        let mut fate = Fate::new(crash);
        let nodes = self.nodes.iter().map(|(&id, node)| (id, node.crash(&mut fate))).collect();
        let mut after = World {
            nodes,
            next_id: self.next_id,
            pending: Vec::new(),
            locked: BTreeSet::new(),
            capacity: self.capacity,
            random: self.random.clone(),
        };
        for change in surviving(&self.pending, &mut fate) {
            after.apply(change, |node| match node {
                Node::Directory { visible, durable } => [Some(visible), Some(durable)],
                Node::File { .. } => [None, None],
            });
        }
        after.sweep();
        (after, fate.decided())
    }

    /// Everything as it is, with nothing open and nothing locked.
    fn without_processes(&self) -> World {
        let nodes = self.nodes.iter().map(|(&id, node)| (id, node.closed())).collect();
        let pending = self.pending.clone();
        let mut after = World { nodes, pending, locked: BTreeSet::new(), random: self.random.clone(), ..*self };
        after.sweep();
        after
    }
}

impl Node {
    fn crash(&self, fate: &mut Fate) -> Node {
        match self {
            Node::File { content, .. } => Node::File { content: content.crash(fate), opens: 0 },
            Node::Directory { durable, .. } => Node::directory(durable.clone()),
        }
    }

    fn closed(&self) -> Node {
        match self {
            Node::File { content, .. } => Node::File { content: content.clone(), opens: 0 },
            Node::Directory { visible, durable } => {
                Node::Directory { visible: visible.clone(), durable: durable.clone() }
            }
        }
    }
}

/// Steps.
impl World {
    fn add(&mut self, node: Node) -> NodeId {
        let id = self.next_id;
        self.next_id += 1;
        self.nodes.insert(id, node);
        id
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node with a name or a handle exists")
    }

    /// Changes names for the process; durable they are after a sync.
    fn change(&mut self, change: NameChange) {
        self.apply(&change, |node| match node {
            Node::Directory { visible, .. } => [Some(visible), None],
            Node::File { .. } => [None, None],
        });
        self.pending.push(change);
    }

    fn sync_names(&mut self, directory: NodeId) {
        for change in take_synced(&mut self.pending, directory) {
            self.apply(&change, |node| match node {
                Node::Directory { durable, .. } => [Some(durable), None],
                Node::File { .. } => [None, None],
            });
        }
        self.sweep();
    }

    fn apply(&mut self, change: &NameChange, halves: impl Fn(&mut Node) -> [Option<&mut Entries>; 2]) {
        for entry in &change.0 {
            for entries in halves(self.node_mut(entry.directory)).into_iter().flatten() {
                match entry.after {
                    Some(id) => entries.insert(entry.name.clone(), id),
                    None => entries.remove(&entry.name),
                };
            }
        }
    }

    /// Forgets nodes that no name, durable or not, and no handle leads to.
    fn sweep(&mut self) {
        let mut live = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Node::Directory { visible, durable } = node {
                live.extend(visible.values().chain(durable.values()));
            }
        }
        let entries = self.pending.iter().flat_map(|change| &change.0);
        live.extend(entries.flat_map(|entry| [Some(entry.directory), entry.before, entry.after]).flatten());
        self.nodes.retain(|id, node| live.contains(id) || matches!(node, Node::File { opens: 1.., .. }));
    }

    fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut id = ROOT;
        for name in components(path)? {
            if !self.is_directory(id) {
                return Err(ErrorKind::NotADirectory.into());
            }
            id = self.entry(id, name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(id)
    }

    fn find_directory(&self, path: &Path) -> io::Result<NodeId> {
        let id = self.find(path)?;
        match self.is_directory(id) {
            true => Ok(id),
            false => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory in which the last name of `path` stands or would stand, and that name.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let components = components(path)?;
        let name = *components.last().ok_or(ErrorKind::InvalidInput)?;
        let directory = self.find_directory(path.parent().unwrap_or(path))?;
        Ok((directory, name.to_owned()))
    }

    fn entries(&self, directory: NodeId) -> &Entries {
        match &self.nodes[&directory] {
            Node::Directory { visible, .. } => visible,
            Node::File { .. } => unreachable!("the path was found to be a directory"),
        }
    }

    fn entry(&self, directory: NodeId, name: &str) -> Option<NodeId> {
        self.entries(directory).get(name).copied()
    }

    fn is_directory(&self, id: NodeId) -> bool {
        matches!(self.nodes[&id], Node::Directory { .. })
    }

    /// Whether `id` is `ancestor` or somewhere below it.
    fn is_inside(&self, id: NodeId, ancestor: NodeId) -> bool {
        id == ancestor
            || match &self.nodes[&ancestor] {
                Node::Directory { visible, .. } => visible.values().any(|&child| self.is_inside(id, child)),
                Node::File { .. } => false,
            }
    }

    fn check_replaceable(&self, source: NodeId, target: NodeId) -> io::Result<()> {
        match (&self.nodes[&source], &self.nodes[&target]) {
            (Node::File { .. }, Node::Directory { .. }) => Err(ErrorKind::IsADirectory.into()),
            (Node::Directory { .. }, Node::File { .. }) => Err(ErrorKind::NotADirectory.into()),
            (_, Node::Directory { visible, .. }) if !visible.is_empty() => Err(ErrorKind::DirectoryNotEmpty.into()),
            _ => Ok(()),
        }
    }

    fn links(&self, id: NodeId) -> u64 {
        let entries = self.nodes.values().filter_map(|node| match node {
            Node::Directory { visible, .. } => Some(visible.values()),
            Node::File { .. } => None,
        });
        entries.flatten().filter(|&&found| found == id).count() as u64
    }
}

/// The names in a path from the root on.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?),
            Component::ParentDir | Component::Prefix(_) => return Err(ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

fn in_memory(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge.into())
}
