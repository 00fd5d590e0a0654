//! Plain-text calls to hosts that are in no table: whose they are is known by their paths.

use super::{Format, Provider, Shape, format::format_of};

/// Who answers paths, wherever.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    openai: Provider,
    anthropic: Provider,
    google: Provider,
    ollama: Provider,
    /// Added ones with paths of their own, the last first.
    added: Vec<Provider>,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            openai: Provider::bare("openai", Shape::OpenAi),
            anthropic: Provider::bare("anthropic", Shape::Anthropic),
            google: Provider::bare("google", Shape::Gemini),
            ollama: Provider::bare("ollama", Shape::OpenAi),
            added: Vec::new(),
        }
    }
}

impl Plain {
    /// Adds a provider, or replaces the one of its name.
    pub(super) fn add(&mut self, provider: Provider) {
        self.added.retain(|known| known.name != provider.name);
        if !provider.paths.is_empty() {
            self.added.insert(0, provider);
        }
    }

    /// Who answers `path`, which is without a query.
    pub(super) fn find(&self, path: &str) -> Option<&Provider> {
        if let Some(added) = self.added.iter().find(|added| added.names(path)) {
            return Some(added);
        }
        match format_of(Shape::OpenAi, path) {
            Format::Other => (format_of(Shape::Gemini, path) != Format::Other).then_some(&self.google),
            Format::AnthropicMessages | Format::AnthropicCountTokens => Some(&self.anthropic),
            Format::Ollama | Format::OllamaEmbeddings => Some(&self.ollama),
            _ => Some(&self.openai),
        }
    }
}

impl Provider {
    /// Whether `path` has one of the provider's own paths in it.
    pub(super) fn names(&self, path: &str) -> bool {
        self.paths.iter().any(|own| path.contains(own.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        call::Operation,
        provider::{Endpoint, Hosts, Shape},
    };

    #[test]
    fn a_path_says_whose_it_is() {
        let mut hosts = Hosts::builtin().with_plain();
        let name = |hosts: &Hosts, path: &str| hosts.find_plain(path).map(|provider| provider.name.clone());
        for (path, expected) in [
            ("/v1/chat/completions", Some("openai")),
            ("/any/prefix/chat/completions?api-version=1", Some("openai")),
            ("/v1/responses", Some("openai")),
            ("/v1/embeddings", Some("openai")),
            ("/v1/messages", Some("anthropic")),
            ("/v1beta/models/gemini-2.5-flash:generateContent?key=k", Some("google")),
            ("/v1internal:streamGenerateContent?alt=sse", Some("google")),
            ("/api/chat", Some("ollama")),
            ("/index.html", None),
            ("/?/v1/chat/completions", None),
        ] {
            assert_eq!(name(&hosts, path).as_deref(), expected, "{path}");
        }
        hosts.add_with_paths("own", "http://10.0.0.1", Shape::OpenAi, vec!["/ask".to_owned()]).unwrap();
        assert_eq!(name(&hosts, "/v9/ask/me").as_deref(), Some("own"));
        hosts.add_with_paths("own", "http://10.0.0.1", Shape::OpenAi, vec!["/tell".to_owned()]).unwrap();
        assert_eq!(name(&hosts, "/v9/ask/me"), None, "replaced");
        assert_eq!(Hosts::builtin().find_plain("/v1/chat/completions"), None, "unless asked for");
    }

    #[test]
    fn a_providers_own_path_is_a_chat_call() {
        let mut hosts = Hosts::builtin();
        hosts.add_with_paths("own", "https://own.example", Shape::Anthropic, vec!["/ask".to_owned()]).unwrap();
        let operation = |path: &str| Endpoint::of(hosts.find("own.example").unwrap(), "POST", path).operation;
        assert_eq!(operation("/v9/ask"), Operation::Chat);
        assert_eq!(operation("/v1/embeddings"), Operation::Embeddings);
        assert_eq!(operation("/v1/files"), Operation::Other);
    }
}
