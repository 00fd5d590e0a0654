//! Manifests that mean harm, or come from a broken editor, end in a mistake soon and never in a panic.

use std::fmt::Write as _;

use agentrun_crds::manifest;

use crate::full::FULL;

fn first_message(text: &str) -> String {
    manifest::parse(text).unwrap_err().told[0].message.clone()
}

#[test]
fn a_bomb_of_aliases_is_not_written_out() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let previous = level - 1;
        let aliases = vec![format!("*a{previous}"); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert!(first_message(&text).contains("too large when its aliases are written out"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 1000].join(", "));
    assert!(first_message(&long).contains("too large when its aliases are written out"));
    assert!(first_message("a: &a [*a]\n").contains("inside its own anchor"));
}

#[test]
fn deep_nesting_is_refused() {
    for text in
        ["[".repeat(50_000), "{a: ".repeat(50_000), "- ".repeat(50_000), "? ".repeat(5_000), format!("{{\"a\": {}", "[".repeat(50_000))]
    {
        let message = first_message(&text);
        assert!(message.contains("nested too deeply") || message.contains("not YAML") || message.contains("not text"), "{message}");
    }
}

#[test]
fn deep_conditions_are_refused() {
    for when in ["(".repeat(2000), "[".repeat(2000), "1+".repeat(1000) + "1", "a".repeat(100_000)] {
        let text = FULL.replace("size(request.messages) == 1", &when);
        let mistakes = manifest::parse(&text).unwrap_err();
        assert!(mistakes.told.iter().all(|mistake| mistake.path == "spec.routing.rules.rules[0].when"), "{mistakes}");
        assert!(mistakes.to_string().len() < 1000, "{mistakes}");
    }
}

#[test]
fn a_huge_file_is_refused_unread() {
    assert!(first_message(&"#".repeat((8 << 20) + 1)).contains("at most 8388608 are read"));
}

#[test]
fn a_flood_of_mistakes_is_counted_not_told() {
    let mut text = FULL.to_owned();
    for number in 0..20_000 {
        writeln!(text, "unknown{number}: 1").unwrap();
    }
    let mistakes = manifest::parse(&text).unwrap_err();
    assert_eq!((mistakes.told.len(), mistakes.more), (50, 19_950));
    assert!(mistakes.to_string().ends_with("and 19950 more"));
}

#[test]
fn a_grid_of_too_many_combos_is_refused_with_its_size() {
    let models: Vec<String> = (0..64).map(|model| format!("m{model}")).collect();
    let models = models.join(", ");
    let roles: Vec<String> = (0..16).map(|role| format!("{{name: r{role}, models: [{models}]}}")).collect();
    let text = |roles: &[String]| {
        let head = "apiVersion: agentrun.dev/v1alpha1\nkind: AgentRun\nmetadata: {name: a}\nspec:\n  dataset: {file: d}\n  scoring: {exact: {}}\n  \
                    template: {spec: {containers: [{name: a}]}}\n";
        format!("{head}  roles: [{}]\n", roles.join(", "))
    };
    assert_eq!(manifest::parse(&text(&roles[..2])).unwrap().spec.combos().unwrap().len(), 4096);
    let mistakes = manifest::parse(&text(&roles)).unwrap_err();
    assert_eq!(mistakes.told.len(), 1);
    assert!(mistakes.told[0].message.contains(&format!("the roles make {} combos", 1_u128 << 96)));
}

#[test]
fn text_that_is_not_utf8_is_told_with_its_place() {
    let mistakes = manifest::parse_bytes(b"kind: AgentRun\nname: \xc3\xa9\xff\n").unwrap_err();
    assert_eq!((mistakes.told[0].line, mistakes.told[0].column), (2, 8));
    assert!(manifest::parse_bytes(b"\xff\xfek\0").unwrap_err().to_string().contains("UTF-16"));
}

#[test]
fn a_byte_order_mark_crlf_and_json_with_tabs_are_read() {
    let run = manifest::parse(FULL).unwrap();
    assert_eq!(manifest::parse(&format!("\u{feff}{}", FULL.replace('\n', "\r\n"))).unwrap(), run);
    let json = serde_json::to_string_pretty(&run).unwrap().replace("  ", "\t").replace("math-agent", "math\\u002dagent");
    assert_eq!(manifest::parse(&json).unwrap(), run);
    let wrong = json.replace("\"samples\": 1", "\"samples\": 0");
    let mistakes = manifest::parse(&wrong).unwrap_err();
    let line = wrong.lines().position(|line| line.contains("\"samples\"")).unwrap() + 1;
    assert_eq!((mistakes.told[0].line, mistakes.told[0].path.as_str()), (line, "spec.samples"));
}

#[test]
fn json_escapes_that_yaml_does_not_know_are_read() {
    let run = manifest::parse(FULL).unwrap();
    let json = serde_json::to_string(&run).unwrap().replace("\"placeholder\"", "\"\\ud83d\\ude00\"");
    let read = manifest::parse(&json).unwrap();
    assert_eq!(read.spec.template.agent_container(None).unwrap().env[0].value.as_deref(), Some("😀"));
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let text = FULL
        .replace("models: [gpt-4.1, gpt-4.1-mini]\n", "models: &models [gpt-4.1, gpt-4.1-mini]\n")
        .replace("models: [gpt-4.1, gpt-4.1-mini, gpt-4.1-nano]", "models: *models")
        .replace(
            "- {name: OPENAI_API_KEY, value: placeholder}",
            "- &key {name: OPENAI_API_KEY, value: placeholder}\n            - {<<: *key, name: OTHER}",
        );
    let spec = manifest::parse(&text).unwrap().spec;
    assert_eq!(spec.roles[0].models, spec.roles[1].models);
    let env = spec.template.agent_container(None).unwrap().env;
    assert_eq!((env[1].name.as_str(), env[1].value.as_deref()), ("OTHER", Some("placeholder")));
}

#[test]
fn no_cut_and_no_changed_byte_panics() {
    for at in (0..FULL.len()).step_by(97) {
        let _ = manifest::parse(&FULL[..at]);
        for byte in ["\t", "\"", "{", "]", ":", "&", "*a", "!", "|", "- ", "\0", "\u{2028}", "%", "?", "<<", "#", ", "] {
            let _ = manifest::parse(&format!("{}{byte}{}", &FULL[..at], &FULL[at + 1..]));
        }
    }
}
