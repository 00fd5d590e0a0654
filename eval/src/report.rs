//! What people and other programs are told of a ranking: table rows, CSV rows, a LiteLLM configuration.

use crate::combo::Combo;
use crate::decimal;
use crate::rank::Ranked;

/// Text in rows under a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// One name a column.
    pub header: Vec<String>,
    /// As many cells a row as the header has.
    pub rows: Vec<Vec<String>>,
}

/// The ranking for people, at most `limit` rows. Scores are percent; `≈` marks what is not told apart from the best, `◆` what
/// no other combo beats in score, latency and cost at once.
pub fn table(ranked: &[Ranked], limit: usize) -> Table {
    let header = ["#", "combo", "score", "± s.e.", "latency", "$/trial", "trials", "failed", "notes"].map(str::to_owned).into();
    let rows = ranked.iter().take(limit).map(|row| {
        let percent = |value: f64| format!("{:.1} %", value * 100.0);
        let notes = [(row.rank == 1, "best"), (row.rank > 1 && row.tied_with_best, "≈ best"), (row.pareto, "◆")];
        let notes: Vec<&str> = notes.into_iter().filter_map(|(holds, note)| holds.then_some(note)).collect();
        vec![
            row.rank.to_string(),
            row.combo.clone(),
            percent(row.score),
            row.standard_error.map_or("-".to_owned(), percent),
            format!("{:.2} s", row.latency_seconds),
            row.usd.map_or("-".to_owned(), decimal::usd),
            row.trials.to_string(),
            row.failed.to_string(),
            notes.join(" "),
        ]
    });
    Table { header, rows: rows.collect() }
}

/// The ranking for programs, all rows: the names of the resource's status in snake case, one `model_<role>` column a role.
/// What is not known is empty.
pub fn csv(ranked: &[Ranked]) -> Table {
    let roles: Vec<&String> = ranked.first().map(|row| row.models.keys().collect()).unwrap_or_default();
    let mut header = vec!["rank".to_owned(), "combo".to_owned()];
    header.extend(roles.iter().map(|role| format!("model_{role}")));
    let rest = ["trials", "failed", "score", "standard_error", "latency_seconds", "usd", "tied_with_best", "pareto"];
    header.extend(rest.map(str::to_owned));
    let rows = ranked.iter().map(|row| {
        let mut cells = vec![row.rank.to_string(), row.combo.clone()];
        cells.extend(roles.iter().map(|role| row.models.get(*role).cloned().unwrap_or_default()));
        cells.extend([
            row.trials.to_string(),
            row.failed.to_string(),
            decimal::fixed(row.score),
            row.standard_error.map(decimal::fixed).unwrap_or_default(),
            decimal::fixed(row.latency_seconds),
            row.usd.map(decimal::usd).unwrap_or_default(),
            row.tied_with_best.to_string(),
            row.pareto.to_string(),
        ]);
        cells
    });
    Table { header, rows: rows.collect() }
}

/// A LiteLLM proxy configuration (YAML) that serves the combo's models, with the roles as comments below.
pub fn litellm_config(combo: &Combo) -> String {
    let mut models: Vec<&String> = combo.models.values().collect();
    models.sort();
    models.dedup();
    let mut text = "model_list:\n".to_owned();
    for model in models {
        let (vendor, key) = vendor_of(model);
        let target = if model.contains('/') { model.clone() } else { format!("{vendor}/{model}") };
        let entry = format!(
            "  - model_name: {}\n    litellm_params:\n      model: {}\n      api_key: os.environ/{key}\n",
            quoted(model),
            quoted(&target)
        );
        text.push_str(&entry);
    }
    text.push_str("\n# The model of each role:\n");
    for (role, model) in &combo.models {
        text.push_str(&format!("#   {}: {}\n", quoted(role), quoted(model)));
    }
    text
}

/// A JSON string is a YAML double-quoted scalar; only characters that YAML forbids in the open need one more escape.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                safe.push_str(&format!("\\u{:04x}", character as u32));
            }
            _ => safe.push(character),
        }
    }
    safe
}

/// LiteLLM's provider prefix and the environment variable of its key, by the model's name.
fn vendor_of(model: &str) -> (&str, &'static str) {
    const KEYS: [(&str, &str); 13] = [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("mistral", "MISTRAL_API_KEY"),
        ("cohere", "COHERE_API_KEY"),
        ("deepseek", "DEEPSEEK_API_KEY"),
        ("xai", "XAI_API_KEY"),
        ("groq", "GROQ_API_KEY"),
        ("together_ai", "TOGETHERAI_API_KEY"),
        ("openrouter", "OPENROUTER_API_KEY"),
        ("fireworks_ai", "FIREWORKS_AI_API_KEY"),
        ("perplexity", "PERPLEXITYAI_API_KEY"),
        ("cerebras", "CEREBRAS_API_KEY"),
    ];
    const FAMILIES: [(&str, &str); 15] = [
        ("gpt", "openai"),
        ("chatgpt", "openai"),
        ("o1", "openai"),
        ("o3", "openai"),
        ("o4", "openai"),
        ("claude", "anthropic"),
        ("gemini", "gemini"),
        ("mistral", "mistral"),
        ("ministral", "mistral"),
        ("codestral", "mistral"),
        ("magistral", "mistral"),
        ("command", "cohere"),
        ("deepseek", "deepseek"),
        ("grok", "xai"),
        ("sonar", "perplexity"),
    ];
    let vendor = match model.split_once('/') {
        Some((vendor, _)) => vendor,
        None => FAMILIES.iter().find(|(prefix, _)| model.starts_with(prefix)).map_or("openai", |(_, vendor)| vendor),
    };
    let key = KEYS.iter().find(|(name, _)| *name == vendor).map_or("API_KEY", |(_, key)| key);
    (vendor, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Ranked {
        Ranked {
            rank: 1,
            index: 4,
            combo: "planner=a + solver=b".into(),
            models: [("planner".to_owned(), "a".to_owned()), ("solver".to_owned(), "b".to_owned())].into_iter().collect(),
            trials: 100,
            failed: 2,
            score: 0.91,
            standard_error: Some(0.028_762),
            latency_seconds: 3.214,
            usd: Some("0.01213".parse().unwrap()),
            objective: 0.91,
            tied_with_best: true,
            pareto: true,
        }
    }

    #[test]
    fn the_csv_row_has_the_statuss_numbers() {
        let table = csv(&[row()]);
        let expected = "rank,combo,model_planner,model_solver,trials,failed,score,standard_error,latency_seconds,usd,tied_with_best,pareto";
        assert_eq!(table.header.join(","), expected);
        assert_eq!(table.rows[0].join(","), "1,planner=a + solver=b,a,b,100,2,0.9100,0.0288,3.2140,0.0121,true,true");
        assert_eq!(csv(&[]).rows.len(), 0);
    }

    #[test]
    fn the_table_says_what_is_not_known_with_a_dash() {
        let unknown = Ranked { rank: 2, standard_error: None, usd: None, pareto: false, ..row() };
        let table = table(&[row(), unknown, row()], 2);
        assert_eq!(table.rows[0].join("|"), "1|planner=a + solver=b|91.0 %|2.9 %|3.21 s|0.0121|100|2|best ◆");
        assert_eq!(table.rows[1].join("|"), "2|planner=a + solver=b|91.0 %|-|3.21 s|-|100|2|≈ best");
        assert_eq!(table.rows.len(), 2);
    }

    #[test]
    fn each_model_is_served_once_under_its_vendor() {
        let models = [
            ("a", "gpt-4.1"),
            ("b", "claude-sonnet-4-5"),
            ("c", "gpt-4.1"),
            ("d", "gemini-2.5-pro"),
            ("e", "groq/llama"),
            ("f", "on: \"x\""),
        ];
        let combo = Combo::labelled(models.into_iter().map(|(role, model)| (role.to_owned(), model.to_owned())).collect());
        let config = litellm_config(&combo);
        for part in [
            "model: \"anthropic/claude-sonnet-4-5\"\n      api_key: os.environ/ANTHROPIC_API_KEY\n",
            "model: \"gemini/gemini-2.5-pro\"\n      api_key: os.environ/GEMINI_API_KEY\n",
            "model: \"groq/llama\"\n      api_key: os.environ/GROQ_API_KEY\n",
            "model_name: \"on: \\\"x\\\"\"\n",
            "#   \"c\": \"gpt-4.1\"\n",
        ] {
            assert!(config.contains(part), "{part} is not in\n{config}");
        }
        assert_eq!(config.matches("model_name: \"gpt-4.1\"").count(), 1);
    }

    #[test]
    fn quoting_leaves_no_character_that_yaml_refuses() {
        assert_eq!(quoted("a\"b\n\u{2028}\u{85}\u{1}é"), "\"a\\\"b\\n\\u2028\\u0085\\u0001é\"");
    }
}
