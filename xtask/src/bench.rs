//! `cargo xtask bench`: the benches, always optimised.

use crate::Outcome;
use crate::checks::cargo;
use crate::steps::Steps;

pub(crate) const HELP: &str = "\
Runs the benches of the store, optimised. Figures mean something only with the machine and the command beside them.

Usage: cargo xtask bench [ARGS]...       the program in benches/, with these arguments (try: --help)
       cargo xtask bench --micro [ARGS]  the criterion benches of all crates, ARGS go to criterion";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    let (micro, rest): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| *argument == "--micro");
    let rest: Vec<&String> = rest.into_iter().skip_while(|argument| *argument == "--").collect();
    let mut steps = Steps::default();
    if micro.is_empty() {
        steps.command("bench", cargo("run --release -p lsm-bench --").args(rest));
    } else {
        steps.command("criterion benches", cargo("bench --workspace --bench * --").args(rest));
    }
    Ok(steps.finish())
}
