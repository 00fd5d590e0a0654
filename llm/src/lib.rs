//! What an LLM call is: providers, shapes, usage, prices, cache keys, records.
