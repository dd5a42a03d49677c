//! Says whether a history could have come from a store that does one transaction after the other.
//!
//! Lists tell the order of the batches that appended to them, so nothing has to be guessed: for each key it is
//! known which batch came after which, which batch a read saw last, and which it just missed. Together with
//! "ended before the other began" these are edges of a graph, and a cycle is an anomaly. Batches only write and
//! reads only read, so what is shown is strict serializability, of which snapshot isolation is a part.
//!
//! | finding | name in the literature |
//! |---|---|
//! | two batches, each before the other | G0 |
//! | an element of no batch | G1a |
//! | some of a batch's elements of one key, without the others | G1b |
//! | each saw the other | G1c |
//! | an element that was acknowledged and is nowhere | lost update |
//! | a cycle through a read that missed something | long fork, stale or non-monotonic read |

use std::collections::HashMap;

use super::history::{BatchId, Element, Key, List, Transaction, What};

/// Why one transaction comes before another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Because {
    /// It appended to a key first.
    Appended(Key),
    /// The other one saw it.
    Seen(Key),
    /// It read a key and missed the other one.
    Missed(Key),
    /// It had ended.
    Ended,
}

/// A node is a transaction, or a moment at which one ended.
type Node = usize;

struct Graph {
    edges: Vec<Vec<(Node, Because)>>,
}

/// Checks `history`, whose last reads must show the final lists of all keys.
///
/// # Errors
/// The first anomaly found, with the transactions it is made of.
pub(crate) fn check(history: &[Transaction]) -> Result<(), String> {
    let writes = writes_of(history)?;
    let lists = final_lists(history)?;
    check_elements(history, &writes, &lists)?;
    let graph = Graph::of(history, &writes, &lists);
    match graph.cycle() {
        None => Ok(()),
        Some(cycle) => Err(described(history, &cycle)),
    }
}

/// Where each batch stands in the history.
fn writes_of(history: &[Transaction]) -> Result<HashMap<BatchId, Node>, String> {
    let mut writes = HashMap::new();
    for (node, transaction) in history.iter().enumerate() {
        if let What::Write { batch, .. } = transaction.what
            && writes.insert(batch, node).is_some()
        {
            return Err(format!("batch {batch} was written twice: the history is no history"));
        }
    }
    Ok(writes)
}

/// The longest list of each key; every other one must be its beginning.
fn final_lists(history: &[Transaction]) -> Result<HashMap<Key, &List>, String> {
    let mut lists: HashMap<Key, &List> = HashMap::new();
    let reads = || history.iter().filter_map(|transaction| Some((transaction, seen_by(transaction)?)));
    for (_, seen) in reads() {
        for (key, list) in seen {
            let longest = lists.entry(*key).or_insert(list);
            if list.len() > longest.len() {
                *longest = list;
            }
        }
    }
    for (read, seen) in reads() {
        for (key, list) in seen {
            let longest = lists[key];
            if !longest.starts_with(list) {
                let at = list.iter().zip(longest.iter()).take_while(|(one, other)| one == other).count();
                return Err(format!(
                    "lost update or two orders: {} saw {:?} of key {key} behind {at} elements, others {:?}",
                    shown(read),
                    list.get(at),
                    longest.get(at)
                ));
            }
        }
    }
    Ok(lists)
}

fn seen_by(transaction: &Transaction) -> Option<&[(Key, List)]> {
    match &transaction.what {
        What::Read { seen } => Some(seen),
        What::Write { .. } => None,
    }
}

/// Each element of a list is of a batch that wrote it, once; what was written is in the lists; no read ends in the
/// middle of a batch's elements.
fn check_elements(
    history: &[Transaction],
    writes: &HashMap<BatchId, Node>,
    lists: &HashMap<Key, &List>,
) -> Result<(), String> {
    let mut appended: HashMap<(Key, BatchId), u8> = HashMap::new();
    for transaction in history {
        if let What::Write { batch, keys } = &transaction.what {
            appended.extend(keys.iter().map(|(key, count)| ((*key, *batch), *count)));
        }
    }
    for (key, list) in lists {
        let mut at = 0;
        while at < list.len() {
            let batch = list[at].batch;
            let Some(count) = appended.remove(&(*key, batch)) else {
                let what = if writes.contains_key(&batch) { "again, or never by it" } else { "of no batch (G1a)" };
                return Err(format!("key {key} has {:?} at {at}: {what}", list[at]));
            };
            let is_whole = (0..count).all(|part| list.get(at + usize::from(part)) == Some(&Element { batch, part }));
            if !is_whole {
                return Err(format!("key {key} has part of batch {batch} at {at}, not {count} elements (G1b)"));
            }
            at += usize::from(count);
        }
    }
    if let Some((key, batch)) = appended.keys().min() {
        return Err(format!("lost update: batch {batch} was acknowledged and is not in key {key}"));
    }
    for transaction in history {
        for (key, list) in seen_by(transaction).unwrap_or_default() {
            let cuts_a_batch =
                list.last().is_some_and(|last| lists[key].get(list.len()).is_some_and(|next| next.batch == last.batch));
            if cuts_a_batch {
                return Err(format!(
                    "{} saw part of a batch in key {key}: {:?} (G1b)",
                    shown(transaction),
                    list.last()
                ));
            }
        }
    }
    Ok(())
}

impl Graph {
    fn of(history: &[Transaction], writes: &HashMap<BatchId, Node>, lists: &HashMap<Key, &List>) -> Graph {
        let mut graph = Graph { edges: vec![Vec::new(); history.len() * 2] };
        for (key, list) in lists {
            for pair in list.windows(2).filter(|pair| pair[0].batch != pair[1].batch) {
                graph.add(writes[&pair[0].batch], writes[&pair[1].batch], Because::Appended(*key));
            }
        }
        for (node, transaction) in history.iter().enumerate() {
            for (key, list) in seen_by(transaction).unwrap_or_default() {
                if let Some(last) = list.last() {
                    graph.add(writes[&last.batch], node, Because::Seen(*key));
                }
                if let Some(missed) = lists[key].get(list.len()) {
                    graph.add(node, writes[&missed.batch], Because::Missed(*key));
                }
            }
        }
        graph.add_time(history);
        graph
    }

    fn add(&mut self, from: Node, to: Node, because: Because) {
        self.edges[from].push((to, because));
    }

    /// Whoever had ended comes before whoever began later. The moments of ending form a chain, so that one edge in
    /// and one edge out of it stand for all pairs.
    fn add_time(&mut self, history: &[Transaction]) {
        let mut by_end: Vec<Node> = (0..history.len()).collect();
        by_end.sort_unstable_by_key(|node| history[*node].ended);
        let moment = |rank: usize| history.len() + rank;
        for (rank, node) in by_end.iter().enumerate() {
            self.add(*node, moment(rank), Because::Ended);
            if rank > 0 {
                self.add(moment(rank - 1), moment(rank), Because::Ended);
            }
        }
        for (node, transaction) in history.iter().enumerate() {
            let before = by_end.partition_point(|other| history[*other].ended < transaction.begun);
            if before > 0 {
                self.add(moment(before - 1), node, Because::Ended);
            }
        }
    }

    /// A cycle, if there is one, as nodes with the reason for the step to the next.
    fn cycle(&self) -> Option<Vec<(Node, Because)>> {
        let mut into = vec![0_usize; self.edges.len()];
        self.edges.iter().flatten().for_each(|(to, _)| into[*to] += 1);
        let mut free: Vec<Node> = (0..into.len()).filter(|node| into[*node] == 0).collect();
        let mut left = self.edges.len();
        while let Some(node) = free.pop() {
            left -= 1;
            for (to, _) in &self.edges[node] {
                into[*to] -= 1;
                if into[*to] == 0 {
                    free.push(*to);
                }
            }
        }
        // Every node that is left has one that is left before it: going back, one comes to a cycle.
        (left > 0).then(|| self.cycle_among(&into))
    }

    fn cycle_among(&self, into: &[usize]) -> Vec<(Node, Because)> {
        let mut before: HashMap<Node, (Node, Because)> = HashMap::new();
        for (from, edges) in self.edges.iter().enumerate().filter(|(from, _)| into[*from] > 0) {
            for (to, because) in edges.iter().filter(|(to, _)| into[*to] > 0) {
                before.entry(*to).or_insert((from, *because));
            }
        }
        let mut seen = HashMap::new();
        let mut path = Vec::new();
        let mut node = *before.keys().min().expect("a cycle is left");
        while !seen.contains_key(&node) {
            seen.insert(node, path.len());
            let (from, because) = before[&node];
            path.push((from, because));
            node = from;
        }
        let mut cycle = path.split_off(seen[&node]);
        cycle.reverse();
        cycle
    }
}

fn shown(transaction: &Transaction) -> String {
    let Transaction { begun, ended, how, what } = transaction;
    match what {
        What::Write { batch, .. } => format!("batch {batch} ({how}, {begun} to {ended})"),
        What::Read { .. } => format!("a read ({how}, {begun} to {ended})"),
    }
}

/// The cycle in words, under the name of the worst edge in it.
fn described(history: &[Transaction], cycle: &[(Node, Because)]) -> String {
    let has = |kind: fn(&Because) -> bool| cycle.iter().any(|(_, because)| kind(because));
    let name = match () {
        () if has(|because| matches!(because, Because::Missed(_))) => "long fork, stale or non-monotonic read",
        () if has(|because| matches!(because, Because::Ended)) => "order against real time",
        () if has(|because| matches!(because, Because::Seen(_))) => "G1c",
        () => "G0",
    };
    let steps = cycle.iter().filter(|(node, _)| *node < history.len()).map(|(node, because)| {
        let because = match because {
            Because::Appended(key) => format!("appended to key {key} before"),
            Because::Seen(key) => format!("was seen in key {key} by"),
            Because::Missed(key) => format!("missed in key {key}"),
            Because::Ended => "had ended before".to_owned(),
        };
        format!("{} {because} ", shown(&history[*node]))
    });
    format!("{name}: {}the first of these", steps.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(batches: &[BatchId]) -> List {
        batches.iter().map(|batch| Element { batch: *batch, part: 0 }).collect()
    }

    fn write(begun: u64, ended: u64, batch: BatchId, keys: &[Key]) -> Transaction {
        let keys = keys.iter().map(|key| (*key, 1)).collect();
        Transaction { begun, ended, how: "test", what: What::Write { batch, keys } }
    }

    fn read(begun: u64, ended: u64, seen: &[(Key, &[BatchId])]) -> Transaction {
        let seen = seen.iter().map(|(key, batches)| (*key, list(batches))).collect();
        Transaction { begun, ended, how: "test", what: What::Read { seen } }
    }

    fn finds(name: &str, history: &[Transaction]) {
        let found = check(history).expect_err("an anomaly");
        assert!(found.contains(name), "{found}");
    }

    #[test]
    fn a_history_in_order_passes() {
        check(&[]).unwrap();
        check(&[
            write(0, 10, 1, &[0, 1]),
            write(1, 9, 2, &[0]),
            // Beside both writes: either order of them is fine, and either answer.
            read(2, 3, &[(0, &[]), (1, &[])]),
            read(4, 11, &[(0, &[2]), (1, &[])]),
            read(12, 13, &[(0, &[2, 1]), (1, &[1])]),
        ])
        .unwrap();
    }

    #[test]
    fn g0_batches_in_two_orders() {
        let last = read(30, 31, &[(0, &[1, 2]), (1, &[2, 1])]);
        finds("G0", &[write(0, 10, 1, &[0, 1]), write(1, 11, 2, &[0, 1]), last]);
    }

    #[test]
    fn g1a_an_element_of_no_batch() {
        finds("G1a", &[write(0, 1, 1, &[0]), read(2, 3, &[(0, &[1, 7])])]);
    }

    #[test]
    fn g1b_a_part_of_a_batch_of_one_key() {
        let twice = Transaction { what: What::Write { batch: 1, keys: vec![(0, 2)] }, ..write(0, 10, 1, &[]) };
        let both = vec![Element { batch: 1, part: 0 }, Element { batch: 1, part: 1 }];
        let seen = |list: &[Element]| What::Read { seen: vec![(0, list.to_vec())] };
        let last = Transaction { what: seen(&both), ..read(11, 12, &[]) };
        let early = Transaction { what: seen(&both[..1]), ..read(1, 2, &[]) };
        check(&[twice.clone(), last.clone()]).unwrap();
        finds("G1b", &[twice.clone(), early.clone(), last]);
        finds("G1b", &[twice, early]);
    }

    #[test]
    fn g1c_a_part_of_a_batch_across_keys() {
        // The read saw batch 2 in key 1, so it saw all before it; and it missed the one before it in key 0.
        let last = read(30, 31, &[(0, &[1, 2]), (1, &[1, 2])]);
        let half = read(2, 3, &[(0, &[1]), (1, &[1, 2])]);
        finds("stale", &[write(0, 1, 1, &[0, 1]), write(1, 20, 2, &[0, 1]), half, last]);
    }

    #[test]
    fn g1c_each_saw_the_other() {
        // Both reads of a client that wrote in between: seen before it was written.
        let early = read(0, 1, &[(0, &[1])]);
        finds("real time", &[early, write(2, 3, 1, &[0]), read(4, 5, &[(0, &[1])])]);
    }

    #[test]
    fn lost_updates() {
        finds("lost update", &[write(0, 1, 1, &[0]), write(2, 3, 2, &[0]), read(4, 5, &[(0, &[2])])]);
        let (one, other) = (read(4, 5, &[(0, &[1])]), read(6, 7, &[(0, &[2])]));
        finds("lost update", &[write(0, 9, 1, &[0]), write(2, 8, 2, &[0]), one, other]);
        finds("again", &[write(0, 1, 1, &[0]), read(4, 5, &[(0, &[1, 1])])]);
    }

    #[test]
    fn a_long_fork() {
        // Two reads that see two independent batches in different orders.
        let last = read(30, 31, &[(0, &[1]), (1, &[2])]);
        let one = read(2, 10, &[(0, &[1]), (1, &[])]);
        let other = read(3, 11, &[(0, &[]), (1, &[2])]);
        finds("long fork", &[write(0, 20, 1, &[0]), write(1, 21, 2, &[1]), one, other, last]);
    }

    #[test]
    fn a_stale_read_and_one_that_goes_back() {
        let last = read(30, 31, &[(0, &[1])]);
        finds("stale", &[write(0, 1, 1, &[0]), read(2, 3, &[(0, &[])]), last.clone()]);
        let (new, old) = (read(2, 3, &[(0, &[1])]), read(4, 5, &[(0, &[])]));
        finds("non-monotonic", &[write(0, 20, 1, &[0]), new, old, last]);
    }
}
