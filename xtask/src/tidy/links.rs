//! Relative links in Markdown files lead to files that exist.

use std::path::Path;

use super::Finding;
use super::tree::Tree;

pub(super) fn check(root: &Path, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in &tree.markdown {
        let directory = root.join(&page.path).parent().map(Path::to_owned).unwrap_or_default();
        for (line, target) in links(&page.text) {
            if !directory.join(target).exists() {
                findings.push(Finding::at_line(&page.path, line, format!("the link to {target} leads nowhere")));
            }
        }
    }
    findings
}

/// Relative targets of `[text](target)` with their lines, without anchors; code blocks are left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let targets = targets.map(|(target, _)| target.split('#').next().unwrap_or_default());
        let relative = targets.filter(|target| !target.is_empty() && !target.contains("://"));
        if !in_code {
            found.extend(relative.map(|target| (index + 1, target)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_links_outside_of_code_count() {
        let text = "[a](b.md#c), [d](../e)\n[f](https://g)\n[h](#i)\n```\n[j](k)\n```\n";
        assert_eq!(links(text), [(1, "b.md"), (1, "../e")]);
    }
}
