//! What the manual must name, it names.

const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");

#[test]
fn every_reason_of_a_failed_trial_has_its_line() {
    let source = include_str!("../../eval/src/trial.rs");
    let reasons: Vec<&str> =
        source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \"")?.1.strip_suffix("\",")).collect();
    assert!(reasons.len() >= 18, "{reasons:?}");
    let missing: Vec<&&str> = reasons.iter().filter(|reason| !TROUBLESHOOTING.contains(&format!("\n| `{reason}` | "))).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md has no line for {missing:?}");
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let docs = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(docs).unwrap() {
        let page = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(&page) else { continue };
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.contains("://") {
                continue;
            }
            let path = if file.is_empty() { page.clone() } else { docs.join(file) };
            let found = path.is_dir()
                || std::fs::read_to_string(&path).is_ok_and(|text| anchor.is_empty() || anchors(&text).any(|one| one == anchor));
            if !found {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The anchors of a page's headings, as forges make them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words
            .chars()
            .filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'))
            .map(|one| if one == ' ' { '-' } else { one })
            .collect()
    })
}
