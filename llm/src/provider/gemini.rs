//! Google's Gemini, in the Gemini API, Vertex AI and Code Assist.

use serde_json::{Map, Value, json};

use crate::response::count::{Counts, count, report};
use crate::response::frame::{Body, Frame, Frames, place, text, without};
use crate::response::gathered::{Gathered, error_of};
use crate::response::out::{Out, pieces};
use crate::usage::{Usage, sum};

/// Reads `usageMetadata`. Thoughts are output that `candidatesTokenCount` leaves out, and tool results are input that
/// `promptTokenCount` leaves out; cached content is inside the prompt.
pub(crate) fn usage(message: &Value) -> Result<Usage, String> {
    let metadata = report(message, "usageMetadata")?;
    let mut counts = Counts::of(metadata)?;
    let (prompt, tools) = (counts.at(&["promptTokenCount"]), counts.at(&["toolUsePromptTokenCount"]));
    let (candidates, thoughts) = (counts.at(&["candidatesTokenCount"]), counts.at(&["thoughtsTokenCount"]));
    let total = counts.at(&["totalTokenCount"]);
    let input = sum(prompt, tools);
    // Some answers give the total alone beside the prompt; what is not input is then output.
    let output = sum(candidates, thoughts).or_else(|| total?.checked_sub(input?));
    let read = Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: counts.at(&["cachedContentTokenCount"]),
        reasoning_tokens: thoughts,
        input_audio_tokens: sum(
            modality(metadata, "promptTokensDetails", "AUDIO"),
            modality(metadata, "toolUsePromptTokensDetails", "AUDIO"),
        ),
        output_audio_tokens: modality(metadata, "candidatesTokensDetails", "AUDIO"),
        input_image_tokens: sum(
            modality(metadata, "promptTokensDetails", "IMAGE"),
            modality(metadata, "toolUsePromptTokensDetails", "IMAGE"),
        ),
        web_searches: web_searches(message),
        ..Usage::default()
    };
    counts.finish(read)
}

/// The tokens of one modality; null where the answer does not break its counts down.
fn modality(metadata: &Value, list: &str, name: &str) -> Option<u64> {
    let details = metadata.get(list)?.as_array()?;
    let counts = details.iter().filter(|detail| detail.get("modality").and_then(Value::as_str) == Some(name));
    counts.map(|detail| detail.get("tokenCount").and_then(count)).fold(None, sum)
}

/// Grounding searches, which are billed by the query.
fn web_searches(message: &Value) -> Option<u64> {
    let candidates = message.get("candidates")?.as_array()?;
    let queries = candidates.iter().filter_map(|candidate| candidate.pointer("/groundingMetadata/webSearchQueries")?.as_array());
    let queries: usize = queries.map(Vec::len).sum();
    (queries > 0).then_some(queries as u64)
}

/// Reads the usage of an embedding: Gemini says `usageMetadata`, Vertex counts beside every prediction.
pub(crate) fn embedding_usage(message: &Value) -> Result<Usage, String> {
    if message.get("usageMetadata").is_some() {
        return usage(message);
    }
    let predictions = message.get("predictions").and_then(Value::as_array).ok_or("the answer has no usageMetadata")?;
    let counts = predictions.iter().map(|prediction| prediction.pointer("/embeddings/statistics/token_count").and_then(Value::as_f64));
    let counted: Option<f64> = counts.sum();
    let input =
        counted.filter(|count| count.fract() == 0.0 && (0.0..=1e12).contains(count)).ok_or("the predictions have no token_count")?;
    Ok(Usage { input_tokens: Some(input as u64), ..Usage::default() })
}

/// Reads `totalTokens` of a count.
pub(crate) fn count_usage(message: &Value) -> Result<Usage, String> {
    let mut counts = Counts::of(message)?;
    let read =
        Usage { input_tokens: counts.at(&["totalTokens"]), cache_read_tokens: counts.at(&["cachedContentTokenCount"]), ..Usage::default() };
    counts.finish(read)
}

/// Takes Code Assist's wrapper off every event; what stands beside `response` is kept for the whole.
pub(crate) fn unwrap(frames: &Frames) -> (Frames, Map<String, Value>) {
    let mut beside = Map::new();
    let list = frames.list.iter().map(|frame| {
        let mut frame: Frame = frame.clone();
        if let Body::Json { value, .. } = &mut frame.body
            && let Some(wrapper) = value.as_object_mut()
            && let Some(inner) = wrapper.shift_remove("response")
        {
            beside.append(wrapper);
            *value = inner;
        }
        frame
    });
    (Frames { list: list.collect(), exact: frames.exact, plain: frames.plain, trouble: frames.trouble.clone() }, beside)
}

/// Puts chunks together as one answer: parts in order, neighbouring texts joined, later words about a candidate kept.
pub(crate) fn gather(frames: &Frames) -> Gathered {
    let mut gathered = Gathered { exact: frames.exact, ..Gathered::new() };
    let mut top = Map::new();
    let mut candidates: Vec<Option<Map<String, Value>>> = Vec::new();
    let mut any = false;
    for frame in &frames.list {
        let Some(chunk) = gathered.document(frame) else { continue };
        if let Some(error) = error_of(chunk) {
            gathered.fail(error);
            continue;
        }
        let Some(members) = chunk.as_object() else {
            gathered.exact = false;
            continue;
        };
        any = true;
        for (name, value) in members {
            if name != "candidates" {
                add_member(&mut top, name, value);
            }
        }
        for candidate in members.get("candidates").and_then(Value::as_array).into_iter().flatten() {
            let index = place(candidate, "index").unwrap_or(0);
            if candidates.len() <= index {
                candidates.resize(index + 1, None);
            }
            if add_candidate(candidates[index].get_or_insert_default(), candidate, &mut gathered.exact) {
                gathered.content(frame.end);
            }
        }
    }
    if !any {
        return gathered;
    }
    let candidates: Vec<Value> = candidates.into_iter().flatten().map(Value::Object).collect();
    let finished = |candidate: &Value| text(candidate, "finishReason").is_some();
    let blocked = top.get("promptFeedback").is_some_and(|feedback| text(feedback, "blockReason").is_some());
    gathered.complete = blocked || (!candidates.is_empty() && candidates.iter().all(finished));
    let mut message = Map::new();
    if !candidates.is_empty() {
        message.insert("candidates".to_owned(), Value::Array(candidates));
    }
    message.append(&mut top);
    gathered.message = Some(Value::Object(message));
    gathered
}

/// `usageMetadata` counts so far and its members come and go, so each member's last word counts.
fn add_member(top: &mut Map<String, Value>, name: &str, value: &Value) {
    match (top.get_mut(name), value) {
        (Some(Value::Object(known)), Value::Object(new)) if name == "usageMetadata" => known.extend(new.clone()),
        _ => {
            top.insert(name.to_owned(), value.clone());
        }
    }
}

fn add_candidate(whole: &mut Map<String, Value>, candidate: &Value, exact: &mut bool) -> bool {
    let mut content = false;
    for (name, value) in candidate.as_object().into_iter().flatten() {
        match (name.as_str(), whole.get_mut(name), value) {
            ("content", None, _) => {
                content |= add_content(whole.entry("content").or_insert_with(|| json!({})), value, exact);
            }
            ("content", Some(known), _) => content |= add_content(known, value, exact),
            ("logprobsResult", Some(known), _) => append_lists(known, value),
            ("citationMetadata", Some(known), _) => append_lists(known, value),
            ("groundingMetadata", Some(known), _) if known != value => {
                // Each chunk's indices count from its own parts; joining them would be a guess.
                *exact = false;
                *known = value.clone();
            }
            _ => {
                whole.insert(name.clone(), value.clone());
            }
        }
    }
    content
}

/// Joins the lists of two objects, member by member.
fn append_lists(known: &mut Value, more: &Value) {
    let (Some(known), Some(more)) = (known.as_object_mut(), more.as_object()) else { return };
    for (name, value) in more {
        match (known.get_mut(name), value) {
            (Some(Value::Array(items)), Value::Array(more)) => items.extend(more.iter().cloned()),
            _ => {
                known.insert(name.clone(), value.clone());
            }
        }
    }
}

fn add_content(content: &mut Value, more: &Value, exact: &mut bool) -> bool {
    let (Some(content), Some(more)) = (content.as_object_mut(), more.as_object()) else {
        *exact = false;
        return false;
    };
    let mut any = false;
    for (name, value) in more {
        let Value::Array(parts) = value else {
            content.insert(name.clone(), value.clone());
            continue;
        };
        let known = content.entry(name.clone()).or_insert_with(|| json!([]));
        let Some(known) = known.as_array_mut() else {
            *exact = false;
            continue;
        };
        for part in parts {
            any |= part.as_object().is_some_and(|part| part.get("text").is_none_or(|text| text != ""));
            // A function call whose arguments come in pieces has no plain form that is known here.
            *exact &= part.pointer("/functionCall/partialArgs").is_none() && part.pointer("/functionCall/willContinue").is_none();
            add_part(known, part);
        }
    }
    any
}

fn add_part(parts: &mut Vec<Value>, part: &Value) {
    if is_plain_text(part)
        && let Some(last) = parts.last_mut().filter(|last| is_plain_text(last) && last.get("thought") == part.get("thought"))
        && let (Some(Value::String(text)), Some(more)) = (last.get_mut("text"), part["text"].as_str())
    {
        text.push_str(more);
        return;
    }
    parts.push(part.clone());
}

/// Whether a part is text and nothing else, so that it may be joined with its neighbour or cut in two.
fn is_plain_text(part: &Value) -> bool {
    part.as_object()
        .is_some_and(|part| part.get("text").is_some_and(Value::is_string) && part.keys().all(|name| name == "text" || name == "thought"))
}

/// A stream that says what `message` says.
pub(crate) fn spread(message: &Value) -> Option<Vec<Out>> {
    let members = message.as_object()?;
    let candidates = match members.get("candidates") {
        None => &[],
        Some(candidates) => candidates.as_array()?.as_slice(),
    };
    let mut head = Map::new();
    for name in ["modelVersion", "responseId"] {
        head.extend(members.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    let mut events = Vec::new();
    let mut ends = Vec::new();
    for candidate in candidates {
        let candidate = candidate.as_object()?;
        let mut end = without(candidate, &["content"]);
        if let Some(content) = candidate.get("content") {
            let content = content.as_object()?;
            for part in content.get("parts").map_or(Some(&Vec::new()), Value::as_array)? {
                for part in cut(part) {
                    let mut chunk = without(candidate, &["content"]);
                    chunk.retain(|name, _| name == "index");
                    let mut said = content.clone();
                    said.insert("parts".to_owned(), json!([part]));
                    chunk.insert("content".to_owned(), Value::Object(said));
                    events.push(chunk);
                }
            }
            let mut rest = content.clone();
            if let Some(parts) = rest.get_mut("parts") {
                *parts = json!([]);
            }
            end.insert("content".to_owned(), Value::Object(rest));
        }
        ends.push(Value::Object(end));
    }
    let mut events: Vec<Value> = events.into_iter().map(|chunk| with_head(&head, json!([chunk]))).collect();
    // The last chunk has the reasons, the counts and everything else that is said once; where there is one candidate it
    // also has that one's last words.
    if let ([Value::Object(end)], Some(Value::Object(said))) = (ends.as_mut_slice(), events.last()) {
        end.extend(said["candidates"][0].get("content").map(|content| ("content".to_owned(), content.clone())));
        events.pop();
    }
    let mut last = if candidates.is_empty() { Map::new() } else { Map::from_iter([("candidates".to_owned(), Value::Array(ends))]) };
    last.append(&mut without(members, &["candidates"]));
    events.push(Value::Object(last));
    Some(events.into_iter().map(Out::plain).collect())
}

fn with_head(head: &Map<String, Value>, candidates: Value) -> Value {
    let mut chunk = Map::from_iter([("candidates".to_owned(), candidates)]);
    chunk.append(&mut head.clone());
    Value::Object(chunk)
}

/// A part in pieces, if it is text; an empty or other part is one piece.
fn cut(part: &Value) -> Vec<Value> {
    let Some(whole) = part.get("text").and_then(Value::as_str).filter(|whole| !whole.is_empty() && is_plain_text(part)) else {
        return vec![part.clone()];
    };
    let piece = |piece: &str| {
        let mut part = part.clone();
        part["text"] = json!(piece);
        part
    };
    pieces(whole).into_iter().map(piece).collect()
}

/// Puts Code Assist's wrapper around every event; what stood beside `response` goes with the last.
pub(crate) fn wrap(events: Vec<Out>, beside: &Map<String, Value>) -> Vec<Out> {
    let last = events.len().saturating_sub(1);
    let wrapped = events.into_iter().enumerate().map(|(index, event)| {
        let mut wrapper = Map::from_iter([("response".to_owned(), event.value.unwrap_or(Value::Null))]);
        if index == last {
            wrapper.append(&mut beside.clone());
        }
        Out::plain(Value::Object(wrapper))
    });
    wrapped.collect()
}
