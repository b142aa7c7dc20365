//! What TLC says, read.

/// What TLC found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) verdict: Verdict,
    pub(crate) states: u64,
    pub(crate) depth: u64,
    /// What happened in each step to where an invariant is broken, in words.
    pub(crate) steps: Vec<String>,
}

/// Whether all invariants hold in every state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Holds,
    /// This one does not.
    Broken(String),
}

impl Found {
    /// Reads it; none where TLC did not come to an end, or is not content with the specification.
    pub(crate) fn read(said: &str) -> Option<Found> {
        let broken = said.lines().find_map(|line| {
            let name = line.strip_prefix("Error: Invariant ")?;
            name.split(' ').next().map(str::to_string)
        });
        let done = said.lines().any(|line| line.starts_with("Model checking completed. No error"));
        let verdict = match (broken, done) {
            (Some(invariant), _) => Verdict::Broken(invariant),
            (None, true) => Verdict::Holds,
            (None, false) => return None,
        };
        let counts = said.lines().rev().find(|line| line.contains("distinct states found"));
        let states = counts.and_then(|line| number_before(line, "distinct states found")).unwrap_or_default();
        let depth = said.lines().find_map(|line| {
            let rest = line.strip_prefix("The depth of the complete state graph search is ")?;
            rest.trim_end_matches('.').parse().ok()
        });
        Some(Found { verdict, states, depth: depth.unwrap_or_default(), steps: steps(said) })
    }
}

fn number_before(line: &str, words: &str) -> Option<u64> {
    let before = line.split(words).next()?.trim_end();
    before.rsplit(' ').next()?.replace(',', "").parse().ok()
}

/// The values of the variable `step`, one of each state but the first.
fn steps(said: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(value) = line.strip_prefix("/\\ step = ") {
            let mut value = value.to_string();
            while let Some(more) = lines.next_if(|line| line.starts_with(' ')) {
                value = format!("{value} {}", more.trim());
            }
            steps.push(words(&value));
        }
    }
    steps.into_iter().filter(|step| !step.is_empty()).collect()
}

/// A tuple of words and values as a sentence.
fn words(value: &str) -> String {
    let inner = value.replace("<<", " ").replace(">>", " ").replace(['"', ','], " ");
    let spaced = inner.split_whitespace().collect::<Vec<_>>().join(" ");
    // A replica is called r0, not r 0.
    ["0", "1", "2"]
        .iter()
        .fold(format!(" {spaced}"), |text, id| text.replace(&format!(" r {id}"), &format!(" r{id}")))
        .trim()
        .replace(" :", ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: &str = "Error: Invariant I1 is violated.
Error: The behavior up to this point is:
State 1: <Initial predicate>
/\\ step = <<>>
/\\ view = 0

State 2: <Replica line 3>
/\\ step = <<\"r\", 0, \"votes for\", \"a\",
   \"in slot\", 1>>
/\\ view = 0

1,234 states generated, 567 distinct states found, 8 states left on queue.
The depth of the complete state graph search is 2.
";

    #[test]
    fn a_counterexample_is_told_in_words() {
        let found = Found::read(BROKEN).expect("TLC came to an end");
        assert_eq!(found.verdict, Verdict::Broken("I1".into()));
        assert_eq!((found.states, found.depth), (567, 2));
        assert_eq!(found.steps, ["r0 votes for a in slot 1"]);
    }

    #[test]
    fn what_did_not_end_is_no_verdict() {
        assert_eq!(Found::read("Error: Parsing or semantic analysis failed."), None);
        let done = "Model checking completed. No error has been found.";
        assert_eq!(Found::read(done).map(|found| found.verdict), Some(Verdict::Holds));
    }
}
