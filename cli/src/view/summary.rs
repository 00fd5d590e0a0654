//! Calls in a few lines, in the form that AgentOpt's `print_summary` has: readers of the one read the other.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use agentrun_llm::call::{CallRecord, Operation};
use jiff::Timestamp;

use super::table::shown;

const RULE: &str = "============================================================";

/// What is told of some calls.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    calls: Vec<Call>,
    models: BTreeMap<String, Tokens>,
}

#[derive(Debug)]
struct Call {
    ended: Timestamp,
    data_id: Option<String>,
    model: String,
    seconds: f64,
    cached: bool,
}

/// What a model's calls consumed, as far as it is known.
#[derive(Debug, Default)]
struct Tokens {
    prompt: Option<u64>,
    completion: Option<u64>,
    /// Calls of which one of the two is not known.
    unknown: u64,
}

impl Summary {
    /// Adds a call.
    pub(crate) fn add(&mut self, record: &CallRecord) {
        let model = shown(&record.model);
        let tokens = self.models.entry(model.clone()).or_default();
        // Nobody is charged for a count, and no model answers it.
        if record.operation != Operation::CountTokens {
            let usage = record.usage();
            let (prompt, completion) = (usage.and_then(|usage| usage.input_tokens), usage.and_then(|usage| usage.output_tokens));
            tokens.prompt = sum(tokens.prompt, prompt);
            tokens.completion = sum(tokens.completion, completion);
            tokens.unknown += u64::from(prompt.is_none() || completion.is_none());
        }
        let data_id = record.data_id.as_deref().filter(|id| !id.is_empty()).map(shown);
        self.calls.push(Call { ended: record.timestamp, data_id, model, seconds: record.latency_seconds, cached: record.cached });
    }

    /// The summary, with a line end.
    pub(crate) fn text(mut self) -> String {
        if self.calls.is_empty() {
            return "(no records — was the router active?)\n".to_owned();
        }
        // Calls of a cluster arrive the newest first.
        self.calls.sort_by_key(|call| call.ended);
        let mut text = format!("{RULE}\nRouting summary\n{RULE}\n\n");
        let datapoints = self.datapoints();
        // Writing to a string cannot fail.
        let _ = if datapoints.len() > 1 { by_datapoint(&mut text, &datapoints) } else { self.sequence(&mut text) };
        let _ = self.tokens(&mut text);
        let seconds: f64 = self.calls.iter().map(|call| call.seconds).sum();
        let _ = writeln!(text, "\nTotal latency: {seconds:.2}s across {} call(s)", self.calls.len());
        text
    }

    /// The calls of each datapoint, in the order in which datapoints come first.
    fn datapoints(&self) -> Vec<(&str, Vec<&Call>)> {
        let mut datapoints: Vec<(&str, Vec<&Call>)> = Vec::new();
        let mut places = HashMap::new();
        for call in &self.calls {
            let Some(id) = call.data_id.as_deref() else { continue };
            let place = *places.entry(id).or_insert_with(|| {
                datapoints.push((id, Vec::new()));
                datapoints.len() - 1
            });
            datapoints[place].1.push(call);
        }
        datapoints
    }

    fn sequence(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "Model usage sequence:")?;
        self.calls.iter().enumerate().try_for_each(|(index, call)| writeln!(text, "  {:>2}. {call}", index + 1))
    }

    fn tokens(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\nTokens per model:")?;
        let width = self.models.keys().map(|model| model.chars().count()).max().unwrap_or_default();
        let shown = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        for (model, Tokens { prompt, completion, unknown }) in &self.models {
            let total = sum(*prompt, *completion);
            let (prompt, completion, total) = (shown(*prompt), shown(*completion), shown(total));
            write!(text, "  {model:<width$}   prompt={prompt:>6}   completion={completion:>6}   total={total:>6}")?;
            match unknown {
                0 => writeln!(text)?,
                count => writeln!(text, "   (and {count} call(s) of unknown usage)")?,
            }
        }
        Ok(())
    }
}

fn by_datapoint(text: &mut String, datapoints: &[(&str, Vec<&Call>)]) -> std::fmt::Result {
    writeln!(text, "Model usage by datapoint:")?;
    for (id, calls) in datapoints {
        let seconds: f64 = calls.iter().map(|call| call.seconds).sum();
        writeln!(text, "  [{id}]  {} call(s), {seconds:.2}s", calls.len())?;
        calls.iter().try_for_each(|call| writeln!(text, "      {call}"))?;
    }
    Ok(())
}

impl std::fmt::Display for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:<30} {:>6.2}s{}", self.model, self.seconds, if self.cached { " (cached)" } else { "" })
    }
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use agentrun_llm::{
        call::{CallId, Capture},
        usage::Usage,
    };

    use super::*;

    /// (model, seconds, tokens in and out where known, cached, datapoint)
    type Row<'a> = (&'a str, f64, Option<(u64, u64)>, bool, Option<&'a str>);

    fn text(rows: &[Row<'_>]) -> String {
        let mut summary = Summary::default();
        // The newest first, as a cluster's calls come.
        for (index, (model, seconds, tokens, cached, data_id)) in rows.iter().enumerate().rev() {
            let ended = Timestamp::from_second(1_700_000_000 + index as i64).unwrap();
            let mut record = CallRecord::begin(CallId::new(ended, [0; 10]), ended, Capture::Session);
            (record.model, record.latency_seconds, record.cached) = ((*model).to_owned(), *seconds, *cached);
            record.data_id = data_id.map(str::to_owned);
            let usage = tokens.map(|(input, output)| Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() });
            record.set_usage(usage.ok_or_else(|| "no usage".to_owned()));
            summary.add(&record);
        }
        summary.text()
    }

    // What AgentOpt's print_summary prints of the same calls.

    #[test]
    fn without_calls_there_is_one_line() {
        assert_eq!(text(&[]), "(no records — was the router active?)\n");
    }

    #[test]
    fn calls_of_one_datapoint_are_a_sequence() {
        let rows: [Row<'_>; 4] = [
            ("gpt-4.1", 1.2345, Some((120, 33)), false, None),
            ("gpt-4.1-nano", 0.005, Some((1_234_567, 8)), true, None),
            ("<parse-failed>", 12.5, Some((0, 0)), false, None),
            ("a-model-whose-name-is-longer-than-thirty-characters", 100.0, Some((1, 2)), false, Some("q1")),
        ];
        let expected = "\
============================================================
Routing summary
============================================================

Model usage sequence:
   1. gpt-4.1                          1.23s
   2. gpt-4.1-nano                     0.01s (cached)
   3. <parse-failed>                  12.50s
   4. a-model-whose-name-is-longer-than-thirty-characters 100.00s

Tokens per model:
  <parse-failed>                                        prompt=     0   completion=     0   total=     0
  a-model-whose-name-is-longer-than-thirty-characters   prompt=     1   completion=     2   total=     3
  gpt-4.1                                               prompt=   120   completion=    33   total=   153
  gpt-4.1-nano                                          prompt=1234567   completion=     8   total=1234575

Total latency: 113.74s across 4 call(s)
";
        assert_eq!(text(&rows), expected);
    }

    #[test]
    fn calls_of_several_datapoints_stand_under_theirs() {
        let rows: [Row<'_>; 5] = [
            ("gpt-4.1", 1.0, Some((10, 5)), false, Some("q1")),
            ("größer", 0.255, Some((7, 1)), true, Some("q2")),
            ("gpt-4.1", 2.5, Some((20, 6)), false, None),
            ("gpt-4.1-mini", 0.125, Some((3, 3)), false, Some("q1")),
            ("gpt-4.1", 0.375, Some((1, 1)), false, Some("")),
        ];
        let expected = "\
============================================================
Routing summary
============================================================

Model usage by datapoint:
  [q1]  2 call(s), 1.12s
      gpt-4.1                          1.00s
      gpt-4.1-mini                     0.12s
  [q2]  1 call(s), 0.26s
      größer                           0.26s (cached)

Tokens per model:
  gpt-4.1        prompt=    31   completion=    12   total=    43
  gpt-4.1-mini   prompt=     3   completion=     3   total=     6
  größer         prompt=     7   completion=     1   total=     8

Total latency: 4.25s across 5 call(s)
";
        assert_eq!(text(&rows), expected);
    }

    /// AgentOpt counts what it could not read as nothing.
    #[test]
    fn what_is_not_known_is_no_zero() {
        let rows: [Row<'_>; 3] =
            [("a", 1.0, Some((10, 5)), false, None), ("a", 1.0, None, false, None), ("b\u{1b}[2J", 1.0, None, false, None)];
        let told = text(&rows);
        let tokens: Vec<&str> = told.lines().filter(|line| line.contains("prompt=")).collect();
        assert!(tokens[0].ends_with("prompt=    10   completion=     5   total=    15   (and 1 call(s) of unknown usage)"), "{told}");
        assert!(tokens[1].ends_with("prompt=     -   completion=     -   total=     -   (and 1 call(s) of unknown usage)"), "{told}");
        assert!(!told.contains('\u{1b}'));
    }
}
